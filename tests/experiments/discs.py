"""Pictures of discs, and short runs of seeded segmentation on them."""

import json

import jax
import numpy as np

from energynets.training import loop
from experiments import seeded_seg
from tests.training.processes import ROOT

CONFIG = ROOT / "experiments" / "seeded_seg.py"
TRAIN, VAL = ("a", "b", "c", "d"), ("e", "f")


def on(root, **changed):
    """The smoke variant on a folder; keys of its parts by name, such as train={"steps": 2}."""
    config = seeded_seg.get_config("smoke")
    config.data.update({"source": "folder", "root": str(root), "classes": 2})
    config.report.betas = (100.0,)
    for part, values in changed.items():
        config[part].update(values)
    return config


def trained(config, workdir):
    return loop.train(seeded_seg.make(config), config, workdir)


def same(first, second):
    pairs = jax.tree.map(np.array_equal, dict(first), dict(second))
    return all(jax.tree.leaves(pairs))


def scores(workdir):
    return json.loads((workdir / "report.json").read_text())["scores"]

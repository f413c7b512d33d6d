"""Short runs of the tiny task, and what is compared of them."""

import json

import jax
import numpy as np
import pytest

from energynets.training import loop
from tests.training import tiny
from tests.training.processes import ROOT

COMMAND = ("-m", "tests.training.tiny", f"--config={ROOT / 'tests/training/tiny.py'}")


def config(**changed):
    made = tiny.get_config()
    with made.unlocked():
        for key, value in changed.items():
            (made if key in made else made.train)[key] = value
    return made


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def close(first, second, rtol=2e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), first, second)


def trained(workdir, **changed):
    settings = config(**changed)
    return loop.train(tiny.make(settings), settings, workdir)


def scores(workdir):
    return json.loads((workdir / "report.json").read_text())["scores"]


def steady(records):
    """The records without what depends on the clock."""
    clock = ("seconds_a_step", "waiting")
    return [{k: v for k, v in r.items() if k not in clock} for r in records]


class Interrupted(Exception):
    pass


def interrupted(settings, workdir, step):
    """Trains until an example of `step` is asked for, which fails as a dying process would."""
    experiment = tiny.make(settings)

    def example(at, row):
        if at >= step:
            raise Interrupted
        return experiment.example(at, row)

    with pytest.raises(Interrupted):
        loop.train(experiment._replace(example=example), settings, workdir)

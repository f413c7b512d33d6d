import json
import shutil

import jax
import numpy as np
import pytest

from energynets import pretrained
from energynets.energies import matting as energies
from energynets.errors import BadInputError
from energynets.networks import build
from energynets.ops import ridge
from energynets.seeded import Seeded
from energynets.training.main import train_and_report
from experiments import matting


def tiny():
    config = matting.get_config("smoke")
    config.report.count = 2
    return config


def test_it_trains_is_resumed_and_reports_every_error_for_every_trimap(tmp_path):
    config = tiny()
    whole = tmp_path / "whole"
    train_and_report(matting.make(config), config, whole)
    report = json.loads((whole / "report.json").read_text())
    for kind in ("narrow", "wide"):
        scores = report["scores"][kind]
        energy = {m: scores[m]["energy"] for m in ("network", "polish", "exact")}
        # After the default number of steps these tiny pictures are at the minimum, to rounding.
        assert energy["network"] > energy["polish"] > (1 - 1e-6) * energy["exact"]
        for name in ("MSE unknown", "SAD all", "gradient unknown", "connectivity unknown"):
            assert np.isfinite(scores["exact"][name])
    for start in ("network", "trimap"):
        polished = report["scores"]["polish"][start]
        assert polished["0"]["energy"] > polished["2"]["energy"]
    # From the checkpoint after two of four steps the same weights and scores come out.
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    shutil.rmtree(again / "checkpoints" / "4")
    train_and_report(matting.make(config), config, again)
    assert json.loads((again / "report.json").read_text())["scores"] == report["scores"]
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (whole, again)]
    assert weights[0] == weights[1]
    trained = pretrained.load(whole / "weights.safetensors")
    planes = np.zeros((1, 16, 16, 2), np.float32)
    planes[:, 0, :, 0] = planes[:, -1, :, 1] = 1
    assert trained(np.full((1, 16, 16, 3), 0.5, np.float32), planes).shape == (1, 16, 16, 2)


def test_examples_are_one_side_against_the_others_and_the_loss_is_the_energy():
    config = tiny()
    experiment = matting.make(config)
    example = experiment.example(0, 0)
    assert example.seeds.shape == (16, 16, 2) and example.seeds.any((0, 1)).all()
    assert (example.shown <= example.seeds).all() and example.shown.any((0, 1)).all()
    variables = experiment.init(jax.random.key(0))
    batch = jax.tree.map(lambda a: a[None], example)
    loss = experiment.loss(variables, batch, jax.random.key(0))
    network = build.of(config.network, 2)
    answer = network.apply(variables, batch.image, batch.shown, train=False)[0, ..., 1]
    alpha = ridge.drawn(answer, example.image, example.image)
    expected = energies.energy(Seeded(example.image, example.seeds), alpha)
    np.testing.assert_allclose(loss.values[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("loss.epsilon", 0.0, "config.loss.epsilon"),
        ("data.hide", -1.0, "config.data.hide"),
        ("report.root", "/nowhere/at/all", "wanted pictures of the same names"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(key, value, told):
    config = tiny()
    part, name = key.split(".")
    config[part][name] = value
    with pytest.raises(BadInputError, match=told):
        matting.make(config)

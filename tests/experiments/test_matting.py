import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

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
    alpha = ridge.drawn(answer, example.image, example.image, radius=config.loss.radius)
    expected = energies.energy(Seeded(example.image, example.seeds), alpha)
    np.testing.assert_allclose(loss.values[0], expected, rtol=1e-5)


def banded(*bands, start=None):
    """The smoke experiment on trimaps made by fresh weights, which are written to `start`."""
    config = tiny()
    if start is not None:
        fresh = matting.make(config).init(jax.random.key(1))
        settings = {**config.network.to_dict(), "classes": 2}
        pretrained.save(start, fresh, settings=settings, about={})
        config.start_from = str(start)
    config.data.bands = bands
    return config


def test_trimaps_are_what_the_starting_network_says_but_for_a_band_at_its_border(tmp_path):
    config = banded(2, start=tmp_path / "start.safetensors")
    experiment = matting.make(config)
    example = experiment.example(0, 0)
    batch = jax.tree.map(lambda a: a[None], example)
    start = pretrained.load(config.start_from)
    side = np.asarray(start(batch.image, batch.shown))[0, ..., 1] >= 0.5
    square = np.ones((5, 5), bool)
    known = np.stack([ndimage.binary_erosion(s, square, border_value=1) for s in (~side, side)], -1)
    # Strokes are kept, whatever the network says.
    known = np.where(example.seeds.any(-1, keepdims=True), example.seeds, known)
    assert known.sum() > example.seeds.sum()
    variables = experiment.init(jax.random.key(0))
    answer = start.network.apply(variables, batch.image, known[None], train=False)[0, ..., 1]
    alpha = ridge.drawn(answer, example.image, example.image, radius=config.loss.radius)
    expected = energies.energy(Seeded(jnp.asarray(example.image), jnp.asarray(known)), alpha)
    loss = experiment.loss(variables, batch, jax.random.key(0))
    np.testing.assert_allclose(loss.values[0], expected, rtol=1e-5)
    assert experiment.predict is not None
    measured = experiment.predict(variables, batch)["loss"][0]
    np.testing.assert_allclose(measured, expected, rtol=1e-5)


def test_bands_are_refused_without_a_network_that_makes_them_or_a_width():
    with pytest.raises(BadInputError, match=r"config\.data\.bands: wanted pixels, and a network"):
        matting.make(banded(2))
    config = banded(0)
    config.start_from = "seeded_seg"
    with pytest.raises(BadInputError, match=r"config\.data\.bands: wanted pixels"):
        matting.make(config)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("loss.epsilon", 0.0, "config.loss.epsilon"),
        ("loss.radius", -1, "config.loss.radius"),
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

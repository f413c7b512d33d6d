import json
import shutil

import jax
import numpy as np
import pytest

from energynets import pretrained
from energynets.energies import dehazing as energies
from energynets.energies.dehazing import Hazy
from energynets.errors import BadInputError
from energynets.training.main import train_and_report
from experiments import dehazing


def tiny(**report):
    config = dehazing.get_config("smoke")
    config.report.count = 1
    config.report.update(report)
    return config


def test_it_trains_is_resumed_and_reports_raw_stretched_and_the_hazy_picture_stretched(tmp_path):
    config = tiny()
    whole = tmp_path / "whole"
    train_and_report(dehazing.make(config), config, whole)
    report = json.loads((whole / "report.json").read_text())
    for method in ("hazy", "network", "polish", "exact"):
        of = report["scores"][method]
        for name in ("PSNR, raw", "PSNR, stretched", "SSIM, raw", "SSIM, stretched"):
            assert np.isfinite(of[name])
    energy = {m: report["scores"][m]["energy"] for m in ("network", "polish", "exact")}
    assert energy["network"] > energy["polish"] > energy["exact"]
    assert "100% of the training pictures" in (whole / "report.md").read_text()
    for figure in ("pictures", "training", "training_strip"):
        assert (whole / "figures" / f"{figure}.png").is_file()
    # From the checkpoint after two of four steps the same weights and scores come out.
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    shutil.rmtree(again / "checkpoints" / "4")
    (again / "weights.safetensors").unlink()
    train_and_report(dehazing.make(config), config, again)
    assert json.loads((again / "report.json").read_text())["scores"] == report["scores"]
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (whole, again)]
    assert weights[0] == weights[1]
    # What was shipped in the file is the network that the report measured.
    trained = pretrained.load(whole / "weights.safetensors")
    t = trained(np.full((1, 16, 16, 3), 0.5, np.float32))
    assert t.shape == (1, 16, 16) and t.min() > 0 and t.max() < 1


def test_the_loss_is_the_energy_of_the_papers_problem():
    config = tiny()
    experiment = dehazing.make(config)
    image = experiment.example(0, 0)
    np.testing.assert_array_equal(image, experiment.example(0, 0))
    assert image.shape == (16, 16, 3) and not np.allclose(image, experiment.example(0, 1))
    variables = experiment.init(jax.random.key(0))
    loss = experiment.loss(variables, image[None], jax.random.key(0))
    air = energies.airlight(image, energies.dark_channel(image))
    inputs = Hazy(image, energies.coarse_transmission(image, air))
    from energynets.networks import build

    t = build.of(config.network, 1).apply(variables, image[None], train=False)[0]
    np.testing.assert_allclose(loss.values[0], energies.energy(inputs, t), rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("hazy.made", 2.0, "config.hazy.made"),
        ("loss.airlight", "median", "config.loss.airlight"),
        ("hazy.root", "/nowhere/at/all", "no such folder"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(key, value, told):
    config = tiny()
    part, name = key.split(".")
    config[part][name] = value
    with pytest.raises(BadInputError, match=told):
        dehazing.make(config)

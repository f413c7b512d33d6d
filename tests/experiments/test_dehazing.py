import json
import shutil

import jax
import numpy as np
import pytest

from energynets import pretrained
from energynets.energies import dehazing as energies
from energynets.energies.dehazing import Hazy
from energynets.errors import BadInputError
from energynets.networks import build
from energynets.networks.transmission import Transmission
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
    methods = ("hazy", "hazy, stretched", "network", "polish", "exact", "exact, dark channel")
    for method in methods:
        of = report["scores"][method]
        for name in ("PSNR, raw", "PSNR, stretched", "SSIM, raw", "SSIM, stretched"):
            assert np.isfinite(of[name])
    plain, wide = report["scores"]["hazy"], report["scores"]["hazy, stretched"]
    for score in ("PSNR", "SSIM"):
        assert wide[f"{score}, raw"] == wide[f"{score}, stretched"] == plain[f"{score}, stretched"]
    by_steps = report["scores"]["polish by steps"]
    for start in ("network", "coarse"):
        assert by_steps[start]["0"]["energy"] > by_steps[start]["2"]["energy"]
        assert report["timing"]["polish"][start]["2"] > 0
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
    t = trained(np.full((1, 16, 16, 3), 0.5, np.float32), np.full((1, 16, 16), 0.5, np.float32))
    assert t.shape == (1, 16, 16) and np.isfinite(t).all()


def test_shipped_weights_are_measured_by_a_run_of_no_steps(tmp_path):
    config = tiny()
    config.start_from, config.network.widths = "dehazing", (16, 32, 64, 96, 96)
    config.train.steps = 0
    train_and_report(dehazing.make(config), config, tmp_path)
    shipped, measured = (
        pretrained.load(of).variables for of in ("dehazing", tmp_path / "weights.safetensors")
    )
    jax.tree.map(np.testing.assert_array_equal, shipped, measured)
    scores = json.loads((tmp_path / "report.json").read_text())["scores"]
    assert scores["network"]["energy"] > scores["exact"]["energy"]


@pytest.mark.parametrize("excess", [0.5, 0.95])
def test_the_loss_is_the_energy_with_the_coarse_transmission_of_the_config(excess):
    config = tiny()
    config.loss.update({"omega": 0.95, "excess": excess})
    experiment = dehazing.make(config)
    image = experiment.example(0, 0)
    np.testing.assert_array_equal(image, experiment.example(0, 0))
    assert image.shape == (16, 16, 3) and not np.allclose(image, experiment.example(0, 1))
    variables = experiment.init(jax.random.key(0))
    loss = experiment.loss(variables, image[None], jax.random.key(0))
    air = energies.airlight(image, energies.dark_channel(image, radius=2))
    coarse = energies.veil_transmission(image, air, omega=0.95, excess=excess, radius=2)
    if excess == 0.95:  # the papers' rule
        coarse = energies.coarse_transmission(image, air, radius=2)
    t = build.of(config.network, 1).apply(variables, image[None], coarse[None], train=False)[0]
    expected = energies.energy(Hazy(image, coarse), t, data_weight=2e-3)
    np.testing.assert_allclose(loss.values[0], expected, rtol=1e-4)


def test_the_paper_variant_is_the_papers_energy_and_a_network_that_sees_the_picture_alone():
    config = dehazing.get_config("paper")
    assert isinstance(build.of(config.network, 1), Transmission)
    assert (config.loss.omega, config.loss.excess, config.loss.patch) == (0.95, 0.95, 7)
    assert config.loss.data_weight == 1e-4


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("hazy.made", 2.0, "config.hazy.made"),
        ("report.polished", 0, "config.report.polished"),
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

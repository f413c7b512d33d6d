import random
import re
import shutil
import time

import jax
import numpy as np
import pytest
from PIL import Image

from energynets import pretrained
from energynets.errors import BadInputError
from energynets.training import loop, main
from energynets.training.journal import read_metrics
from experiments import seeded_seg
from tests.experiments.discs import CONFIG, on, same, scores, trained
from tests.training.processes import start


def test_smoke_trains_and_reports(tmp_path):
    config = seeded_seg.get_config("smoke")
    main.train_and_report(seeded_seg.make(config), config, tmp_path)
    found = scores(tmp_path)
    assert found["pictures"] == 40 and found["exact, beta 100"]["unsolved"] == 0
    methods = ["network", "fresh network", "exact, beta 100", "exact, beta 1000", "nearest seed"]
    for method in methods:
        assert found[method]["energy, beta 1000"] >= found["exact, beta 1000"]["energy, beta 1000"]
        assert 0 <= found[method]["mIoU"] <= 1
    assert len(found["mIoU, network minus exact, beta 100"]) == 3
    text = (tmp_path / "report.md").read_text()
    assert all(f"| {method} |" in text for method in methods)
    for name in ("pictures", "training"):
        assert f"figures/{name}.png" in text
        with Image.open(tmp_path / "figures" / f"{name}.png") as picture:
            picture.load()
    records = read_metrics(tmp_path)
    assert [r["step"] for r in records if "loss" in r] == [1, 2, 3, 4]
    assert [r["step"] for r in records if "validation/mean_iou" in r] == [0, 2, 4]
    assert "## Energy a pixel" in text
    row = r"\| {} \| float{} \| [\d.e-]+ \| [\d.e+-]+ \|"
    assert re.search(row.format("network", 32), text)
    assert re.search(row.format("exact, beta 1000", 64), text)
    weights = pretrained.load(tmp_path / "weights.safetensors")
    assert weights.about["scores"]["network"] == found["network"]
    assert weights.about["config"]["train"]["steps"] == 4


def test_training_lowers_the_energy(root, tmp_path):
    config = on(root, train={"steps": 60, "epoch": 30, "batch": 4, "rate": 1e-2})
    trained(config, tmp_path / "run")
    name = "validation/loss"
    losses = [r[name] for r in read_metrics(tmp_path / "run") if name in r]
    assert losses[-1] < 0.8 * losses[0]


def test_killed_and_started_again_it_writes_the_same_weights_and_scores(root, tmp_path):
    def begin(workdir):
        return start(
            *("-m", "experiments.seeded_seg", f"--config={CONFIG}:smoke", f"--workdir={workdir}"),
            *("--config.data.source=folder", f"--config.data.root={root}"),
            *("--config.data.classes=2", "--config.train.steps=24", "--config.train.epoch=6"),
            "--config.report.betas=(100.0,)",
        )

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = begin(whole)
    _, err = process.communicate()
    assert process.returncode == 0, err
    moments = random.Random(1)
    for _ in range(2):
        process = begin(killed)
        while not (killed / "checkpoints" / "0").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 1.5))
        process.kill()
        process.communicate()
    process = begin(killed)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert scores(killed) == scores(whole)
    first, second = ((run / "weights.safetensors").read_bytes() for run in (whole, killed))
    assert first == second


def test_supervision_changes_the_weights_and_uses_the_masks(root, tmp_path):
    plain = trained(on(root), tmp_path / "plain")
    supervised = on(root, loss={"supervised": 1.0})
    found = trained(supervised, tmp_path / "supervised")
    assert not same(found, plain)
    for path in (root / "masks").glob("[a-d].png"):  # the other label everywhere
        Image.fromarray(1 - np.asarray(Image.open(path))).save(path)
    assert not same(trained(supervised, tmp_path / "wrong"), found)
    assert same(trained(on(root), tmp_path / "again"), plain)


def test_supervision_without_masks_learns_from_the_energy_alone(root, tmp_path):
    plain = trained(on(root), tmp_path / "plain")
    shutil.rmtree(root / "masks")
    found = trained(on(root, loss={"supervised": 1.0}), tmp_path / "supervised")
    for leaf, other in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-5)


def test_the_papers_head_and_trunk_work(root, tmp_path):
    network = {"head": "classes", "trunk": "dilated", "blocks": 2, "width": 8}
    config = on(root, network=network)
    main.train_and_report(seeded_seg.make(config), config, tmp_path / "run")
    weights = pretrained.load(tmp_path / "run" / "weights.safetensors")
    assert weights.variables.keys() == {"params", "batch_stats"}
    assert scores(tmp_path / "run")["network"]["energy, beta 100"] > 0


def test_a_run_can_start_from_the_weights_of_another(root, tmp_path):
    config = on(root, train={"steps": 0})
    main.train_and_report(seeded_seg.make(config), config, tmp_path / "first")
    weights = tmp_path / "first" / "weights.safetensors"
    config.start_from = str(weights)
    variables = seeded_seg.make(config).init(jax.random.key(5))
    assert same(variables, pretrained.load(weights).variables)
    config.network.widths = (8, 16)
    with pytest.raises(BadInputError, match=r"config\.start_from: wanted weights of"):
        main.train_and_report(seeded_seg.make(config), config, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_network_that_needs_larger_pictures_says_so(root):
    network = {"head": "classes", "trunk": "dilated", "blocks": 7, "padding": "reflect"}
    with pytest.raises(BadInputError, match=r"config\.data\.size: wanted at least 65 .* got 16"):
        seeded_seg.make(on(root, network=network))


def test_every_variant_has_the_keys_of_the_full_one():
    def keys(tree, prefix=""):
        for name, value in tree.items():
            yield prefix + name
            if hasattr(value, "items"):
                yield from keys(value, f"{prefix}{name}.")

    full = set(keys(seeded_seg.get_config()))
    for variant in ("quickstart", "smoke", "paper", "preprint"):
        assert set(keys(seeded_seg.get_config(variant))) == full
    with pytest.raises(BadInputError, match=r"variant: wanted full, .* got 'tiny'"):
        seeded_seg.get_config("tiny")


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        ("report", {"split": "nosuch"}, r"nosuch\.txt: wanted a list"),
        ("report", {"root": "/nope"}, r"/nope/images: wanted a folder"),
        ("report", {"betas": ()}, r"config\.report\.betas: wanted one finite .* got \(\)"),
        ("report", {"betas": ("a",)}, r"config\.report\.betas: wanted one finite"),
        ("report", {"betas": (-1.0,)}, r"config\.report\.betas: wanted one finite"),
        ("report", {"betas": (float("nan"),)}, r"config\.report\.betas: wanted one finite"),
        ("report", {"pictures": -1}, r"config\.report\.pictures: wanted .* at least 0, got -1"),
        ("data", {"classes": 300}, r"config\.data\.classes: wanted 1 to 255, got 300"),
        ("data", {"crop": 1.5}, r"config\.data\.crop: wanted .* from 0 to 1, got 1\.5"),
        ("data", {"validation_count": -1}, r"config\.data\.validation_count: .* at least 0, got"),
        ("data", {"labels": 0}, r"config\.data\.labels: wanted .* at least 1, got 0"),
        ("data", {"validation_labels": 0}, r"config\.data\.validation_labels: .* at least 1, got"),
        ("data", {"hide": -0.1}, r"config\.data\.hide: wanted .* from 0 to 1, got -0\.1"),
        ("data", {"hide_least": 2.0}, r"config\.data\.hide_least: wanted .* from 0 to 1"),
        ("data", {"size": 0}, r"config\.data\.size: wanted .* at least 1, got 0"),
        ("data", {"small_size": 0}, r"config\.data\.small_size: wanted .* at least 1, got 0"),
        ("data", {"small_steps": -1}, r"config\.data\.small_steps: wanted .* at least 0, got -1"),
        ("loss", {"beta": float("nan")}, r"config\.loss\.beta: wanted a finite .* got nan"),
        ("loss", {"seed_weight": -1.0}, r"config\.loss\.seed_weight: .* at least 0, got -1"),
        ("loss", {"floor": float("inf")}, r"config\.loss\.floor: wanted a finite .* got inf"),
        ("loss", {"cross_entropy": -1.0}, r"config\.loss\.cross_entropy: .* at least 0, got -1"),
        ("loss", {"supervised": -1.0}, r"config\.loss\.supervised: .* at least 0, got -1"),
        ("loss", {"labelled": 1.1}, r"config\.loss\.labelled: wanted .* from 0 to 1, got 1\.1"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(root, part, values, told):
    with pytest.raises(BadInputError, match=told):
        seeded_seg.make(on(root, **{part: values}))


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("loss", {"grayscale": True}),
        ("loss", {"cross_entropy": 1.0}),
        ("data", {"small_steps": 1, "small_size": 8}),
        ("data", {"seeds": "masks"}),
    ],
)
def test_each_choice_trains_and_changes_the_weights(root, tmp_path, part, values):
    steps = {"steps": 2, "epoch": 2}
    plain = trained(on(root, train=steps), tmp_path / "plain")
    config = on(root, train=steps, **{part: values})
    experiment = seeded_seg.make(config)
    sizes = [experiment.example(step, 0).image.shape for step in range(2)]
    assert sizes == [(8, 8, 3) if "small_steps" in values else (16, 16, 3), (16, 16, 3)]
    assert not same(loop.train(experiment, config, tmp_path / "run"), plain)


def test_the_loss_is_the_energy_of_grey_values_plus_the_weighted_cross_entropy(root):
    def parts(**changed):
        config = on(root, loss=changed, data={"hide": 0.0})
        experiment = seeded_seg.make(config)
        batch = jax.tree.map(lambda a: a[None], experiment.example(0, 0))
        variables = experiment.init(jax.random.key(0))
        loss = experiment.loss(variables, batch, jax.random.key(0))
        return float(loss.values[0]), float(loss.logs["energy"][0])

    value, energy = parts()
    assert value == energy
    grey, _ = parts(grayscale=True)
    assert grey != energy
    once, twice = (parts(cross_entropy=weight) for weight in (1.0, 2.0))
    assert once[1] == twice[1] == energy and once[0] > energy
    # Float32 rounds sums of this size to some parts in 10⁷.
    np.testing.assert_allclose(twice[0] - energy, 2 * (once[0] - energy), rtol=1e-3)


def test_energy_and_solver_see_grey_values_where_the_loss_does(root, tmp_path, monkeypatch):
    seen = []

    def with_exact(problem, answers, groups, **functions):
        seen.append((problem, groups))
        return compare(problem, answers, groups, **functions)

    compare = seeded_seg.comparison.with_exact
    monkeypatch.setattr(seeded_seg.comparison, "with_exact", with_exact)
    loss = {"grayscale": True, "seed_weight": 3.0, "floor": 0.01}
    config = on(root, loss=loss, train={"steps": 0})
    main.train_and_report(seeded_seg.make(config), config, tmp_path)
    for problem, groups in seen:
        assert problem.image.shape == (16, 16, 1)
        assert groups == {"beta 100": {"beta": 100.0, "seed_weight": 3.0, "floor": 0.01}}

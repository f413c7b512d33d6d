import json
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
from tests.training.processes import ROOT, start

CONFIG = ROOT / "experiments" / "seeded_seg.py"
TRAIN, VAL = ("a", "b", "c", "d"), ("e", "f")


@pytest.fixture
def root(tmp_path):
    """Six pictures of 32×32: a bright disc on a dark ground, one stroke on each."""
    folder = tmp_path / "pictures"
    for name in ("images", "scribbles", "masks"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:32, :32]
    for number, name in enumerate(TRAIN + VAL):
        noise = np.random.default_rng(number).normal(0, 12, (32, 32, 3))
        disc = (rows - 14 - number) ** 2 + (columns - 16) ** 2 < 64
        image = np.where(disc[..., None], [200, 160, 90], [40, 60, 120]) + noise
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / "masks" / f"{name}.png")
        seeds = np.full((32, 32), 255, np.uint8)
        seeds[14 + number, 13:19], seeds[2, 3:29] = 1, 0
        Image.fromarray(seeds).save(folder / "scribbles" / f"{name}.png")
    (folder / "train.txt").write_text("\n".join(TRAIN))
    (folder / "val.txt").write_text("\n".join(VAL))
    return folder


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


def test_polish_is_told_against_its_steps_from_three_starts(root, tmp_path):
    config = on(root, report={"polished": 1, "steps": (0, 1, 40)})
    main.train_and_report(seeded_seg.make(config), config, tmp_path)
    by_steps = scores(tmp_path)["polish by steps"]
    assert [*by_steps] == ["network", "exact at 16×16", "cold"]
    for of in by_steps.values():
        assert of["0"]["energy"] > of["40"]["energy"]
        # The minimum is one, and 40 steps of multigrid reach it from anywhere.
        assert abs(of["40"]["energy"] / by_steps["cold"]["40"]["energy"] - 1) < 1e-3
        right = of["40"]["pixel accuracy"] - by_steps["cold"]["40"]["pixel accuracy"]
        assert abs(right) < 0.01 and of["40"]["residual"] < 1e-4
    assert by_steps["cold"]["0"]["energy"] > by_steps["exact at 16×16"]["0"]["energy"]
    assert (
        "## Polish against its steps, 1 pictures at their own size"
        in (tmp_path / "report.md").read_text()
    )


@pytest.mark.parametrize("part", [{"network": {"head": "classes"}}, {"loss": {"grayscale": True}}])
def test_polish_is_refused_for_a_network_that_the_tools_cannot_ask(root, part):
    with pytest.raises(BadInputError, match=r"config\.report\.polished: wanted 0"):
        seeded_seg.make(on(root, report={"polished": 1}, **part))


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


def test_without_masks_the_weights_are_the_same_bits(root, tmp_path):
    with_masks = trained(on(root), tmp_path / "with")
    shutil.rmtree(root / "masks")
    assert same(trained(on(root), tmp_path / "without"), with_masks)
    assert "validation/mean_iou" not in read_metrics(tmp_path / "without")[0]


def test_a_folder_without_masks_is_reported_by_its_energies(root, tmp_path):
    shutil.rmtree(root / "masks")
    config = on(root)
    main.train_and_report(seeded_seg.make(config), config, tmp_path / "run")
    found = scores(tmp_path / "run")
    assert found["pictures"] == 2
    assert "mIoU" not in found["network"] and found["network"]["energy, beta 100"] > 0


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


def test_the_report_says_which_masks_were_seen(root, tmp_path):
    few = on(root, loss={"supervised": 1.0, "labelled": 0.3}, train={"steps": 2})
    main.train_and_report(seeded_seg.make(few), few, tmp_path / "few")
    text = (tmp_path / "few" / "report.md").read_text()
    assert "| network, masks of 2 of 4 training pictures |" in text and "| network |" in text
    assert "Not without labels: the network was trained with the masks of 2 of 4" in text
    assert scores(tmp_path / "few")["masks"] == 2
    none = on(root, train={"steps": 2})
    main.train_and_report(seeded_seg.make(none), none, tmp_path / "none")
    text = (tmp_path / "none" / "report.md").read_text()
    assert "labels: the network" not in text and "masks of" not in text
    assert scores(tmp_path / "none")["masks"] == 0


def test_only_the_labelled_share_shows_its_masks(root):
    config = on(root, loss={"supervised": 1.0, "labelled": 0.5}, data={"crop": 0.0})
    experiment = seeded_seg.make(config)
    shown = {}
    for step, row in ((step, row) for step in range(4) for row in range(2)):
        shown[experiment.name(step, row)] = (experiment.example(step, row).mask >= 0).all()
    assert shown == {"a": True, "b": True, "c": False, "d": False}


@pytest.mark.parametrize("problems", ["objects", "classes"])
@pytest.mark.parametrize("head", ["classes", "per_label"])
def test_two_class_problems_are_trained_on_and_reported(root, tmp_path, problems, head):
    for path in (root / "scribbles").iterdir():  # label 5 in place of 1
        seeds = np.asarray(Image.open(path))
        Image.fromarray(np.where(seeds == 1, 5, seeds).astype(np.uint8)).save(path)
    for path in (root / "masks").iterdir():
        Image.fromarray(5 * np.asarray(Image.open(path))).save(path)
    network = {"head": head, "trunk": "pyramid", "widths": (8, 8)}
    changed = {"problems": problems, "classes": 6, "labels": 4}
    config = on(root, data=changed, network=network, train={"steps": 2})
    experiment = seeded_seg.make(config)
    assert experiment.example(0, 0).seeds.shape == (16, 16, 2)
    assert experiment.example(0, 0).seeds.any((0, 1)).all()
    main.train_and_report(experiment, config, tmp_path / "run")
    found = scores(tmp_path / "run")
    assert found["pictures"] == 2 and 0 <= found["network"]["mIoU"] <= 1
    unit = {"objects": "an object", "classes": "a seeded class"}[problems]
    told = f"2 two-class problems, one {unit}, at 16×16"
    assert told in (tmp_path / "run" / "report.md").read_text()


def test_training_on_problems_of_classes_opens_no_mask(root, tmp_path):
    config = on(root, data={"problems": "classes"})
    with_masks = trained(config, tmp_path / "with")
    shutil.rmtree(root / "masks")
    assert same(trained(config, tmp_path / "without"), with_masks)


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
        seeded_seg.make(config).init(jax.random.key(5))


def test_a_picture_without_seeds_is_named_before_anything_is_written(root):
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(root / "scribbles" / "c.png")
    with pytest.raises(BadInputError, match=r"scribbles/c\.png: wanted at least one seed"):
        seeded_seg.make(on(root))


def test_a_truncated_picture_is_named_or_left_out_and_told(root, capsys):
    path = root / "images" / "b.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInputError, match=r"b\.png: wanted a readable image, .*skip_broken"):
        seeded_seg.make(on(root))
    capsys.readouterr()
    experiment = seeded_seg.make(on(root, data={"skip_broken": True}))
    told = capsys.readouterr().out
    assert "left out: " in told and "b.png" in told and "1 of 4 pictures left out" in told
    names = {experiment.name(step, row) for step in range(3) for row in range(2)}
    assert names == {"a", "c", "d"}


def test_each_epoch_shows_every_picture_once_in_an_order_of_its_own(root):
    experiment = seeded_seg.make(on(root))
    names = [experiment.name(step, row) for step in range(20) for row in range(2)]
    epochs = [tuple(names[start : start + 4]) for start in range(0, 40, 4)]
    assert all(sorted(epoch) == list(TRAIN) for epoch in epochs)
    assert len(set(epochs)) > 1


def test_the_same_step_and_row_is_the_same_example(root):
    first, second = (seeded_seg.make(on(root)) for _ in range(2))
    for leaf, other in zip(first.example(3, 1), second.example(3, 1), strict=True):
        np.testing.assert_array_equal(leaf, other)
    assert any(
        (a != b).any() for a, b in zip(first.example(3, 1), first.example(5, 1), strict=True)
    )


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


def test_masks_to_be_measured_on_are_read_before_training_and_those_of_training_are_not(root):
    def damage(name):
        Image.fromarray(np.zeros((16, 32), np.uint8)).save(root / "masks" / f"{name}.png")

    damage("a")
    seeded_seg.make(on(root))
    (root / "test.txt").write_text("e\na\n")
    with pytest.raises(BadInputError, match=r"masks/a\.png: wanted the size of its image"):
        seeded_seg.make(on(root, report={"split": "test"}))
    damage("f")
    with pytest.raises(BadInputError, match=r"masks/f\.png: wanted the size of its image"):
        seeded_seg.make(on(root))


def test_a_report_without_pictures_on_another_split_works(root, tmp_path):
    (root / "test.txt").write_text("a\nb\ne\n")
    config = on(root, report={"split": "test", "pictures": 0}, train={"steps": 2})
    main.train_and_report(seeded_seg.make(config), config, tmp_path / "run")
    assert scores(tmp_path / "run")["pictures"] == 3
    assert [p.name for p in (tmp_path / "run" / "figures").iterdir()] == ["training.png"]


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


def test_the_timed_problem_has_no_planes_of_labels_without_seeds(root, tmp_path, monkeypatch):
    seen = []

    def exact_calls(problem, groups, solve):
        seen.append(problem)
        return {}

    monkeypatch.setattr(seeded_seg.comparison, "exact_calls", exact_calls)
    config = on(root, train={"steps": 0})
    main.train_and_report(seeded_seg.make(config), config, tmp_path)
    assert seen[0].seeds.shape == (16, 16, 2) and seen[0].seeds.any((0, 1)).all()
    timing = json.loads((tmp_path / "report.json").read_text())["timing"]
    assert timing["of"] == "one picture of 16×16 and 2 labels" and "network" in timing["seconds"]


def test_labels_that_were_left_out_are_told_of(root, tmp_path):
    config = on(root, data={"validation_labels": 1}, train={"steps": 0})
    main.train_and_report(seeded_seg.make(config), config, tmp_path)
    told = "2 pictures have seeds of more than 1 labels (config.data.validation_labels)"
    assert told in (tmp_path / "report.md").read_text()

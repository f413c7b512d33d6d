import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from energynets import pretrained
from energynets.data import images, order, seeds
from energynets.data.embedded import Embedded
from energynets.energies import dense_crf, image_tags, normalized_cut
from energynets.errors import BadInputError
from energynets.solvers import mean_field, scribble_sup
from energynets.training import loop, weak_losses
from energynets.training.journal import read_metrics
from energynets.training.main import train_and_report
from experiments import weak_seg


def on(variant="smoke", **changed):
    """The smoke variant on embedded pictures; keys of its parts by name: loss={"crf": 2.0}."""
    config = weak_seg.get_config("smoke")
    config.loss.update({"kernel_cut": 0.0, **weak_seg.LOSSES.get(variant, {"kernel_cut": 1.0})})
    config.labels.masks = float(variant == "full")
    config.labels.kind = weak_seg.KINDS.get(variant, "scribbles")
    for part, values in changed.items():
        config[part].update(values)
    return config


def begun(config, count=2):
    """The task, fresh variables and a batch of training examples of the second phase."""
    experiment = weak_seg.make(config)
    variables = experiment.init(jax.random.key(0))
    rows = [experiment.example(config.loss.from_step, row) for row in range(count)]
    return experiment, variables, jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def values(experiment, variables, batch):
    return experiment.loss(variables, batch, jax.random.key(0)).values


def probabilities(config, variables, batch):
    network = weak_seg.networks.of(config.network, 4)
    scores: Any = network.apply(variables, batch.image, False)
    return jax.nn.softmax(scores)


def scores(workdir):
    return json.loads((workdir / "report.json").read_text())["scores"]


def test_smoke_trains_and_reports_and_sets_runs_beside_one_another(tmp_path):
    for variant in ("full", "smoke"):
        config = on(variant, report={"runs": str(tmp_path)})
        train_and_report(weak_seg.make(config), config, tmp_path / variant)
    found = scores(tmp_path / "smoke")
    assert found["pictures"] == 40
    for method in ("network", "network, mean field"):
        assert 0 <= found[method]["mIoU"] <= 1 and 0 <= found[method]["crf"] <= 1.01
    text = (tmp_path / "smoke" / "report.md").read_text()
    assert "| pyramid | masks | cross entropy | network | 1 |" in text
    assert (
        "| pyramid | scribbles × 1 | cross entropy + 1 kernel cut of γ 0.3 | network | 1 |" in text
    )
    assert "from full" in text
    assert "| network | labels | loss | runs | mIoU, network | ± | mIoU, network, mean" in text
    for figure in ("pictures", "runs", "lengths"):
        with Image.open(tmp_path / "smoke" / "figures" / f"{figure}.png") as picture:
            picture.load()
    measured = [r for r in read_metrics(tmp_path / "smoke") if "validation/crf" in r]
    assert [r["step"] for r in measured] == [0, 2, 4]


def test_the_loss_is_the_cross_entropy_and_the_weighted_energies():
    sizes = {"crf": 2.0, "cut": 0.5, "kernel_cut": 3.0, "gamma": 0.7}
    config = on(loss=sizes)
    experiment, variables, batch = begun(config)
    p = probabilities(config, variables, batch)
    known = batch.known.astype(bool)
    for row, value in enumerate(values(experiment, variables, batch)):
        expected = -np.log(np.asarray(p[row])[known[row]]).mean()
        widths = {"sigma_position": 4.0, "sigma_colour": 13 / 255}
        of = batch.image[row], p[row]
        expected += (2 + 3) * dense_crf.per_pixel(*of, **widths)
        cut = normalized_cut.energy(*of, **widths, present=jnp.asarray(batch.present[row]))
        expected += (0.5 + 0.7 * 3) * cut
        assert value == pytest.approx(float(expected), rel=1e-4)


def test_in_the_first_phase_the_labels_count_alone():
    config = on()
    experiment, variables, batch = begun(config)
    early = batch._replace(regularized=np.zeros(2, np.float32))
    assert experiment.example(config.loss.from_step - 1, 0).regularized == 0
    plain, plain_variables, _ = begun(on("cross_entropy"))
    np.testing.assert_allclose(
        values(experiment, variables, early), values(plain, plain_variables, early), rtol=1e-6
    )
    assert (values(experiment, variables, batch) > values(experiment, variables, early)).all()


def test_clicks_and_masks_and_tags_and_nothing_are_choices_of_the_config():
    counts = {}
    for name, changed in {
        "scribbles": {},
        "clicks": {"length": 0.0},
        "masks": {"masks": 1.0},
        "tags": {"kind": "tags"},
        "none": {"kind": "none"},
    }.items():
        loss = {"expansion": float(name == "tags")}
        experiment, variables, batch = begun(on(labels=changed, loss=loss), count=4)
        counts[name] = batch.known.sum()
        assert np.isfinite(values(experiment, variables, batch)).all()
    assert counts["tags"] == counts["none"] == 0
    assert 0 < counts["clicks"] < counts["scribbles"] < counts["masks"]


def test_a_share_of_the_pictures_has_masks_and_the_rest_what_the_config_says():
    config = on(labels={"masks": 0.25, "kind": "none"}, data={"crop": 0.0})
    experiment = weak_seg.make(config)
    examples = [experiment.example(step, row) for step in range(200) for row in range(2)]
    whole = [bool(example.known.any()) for example in examples]
    assert sum(whole) == 100  # of the 400 embedded pictures, each shown once
    assert weak_seg.labelling(config) == "masks of 25%, no labels"


def expansion(batch, p, row):
    share = 41**2 / 16**2
    decays = {"decay_present": 0.996**share, "decay_absent": 0.0, "decay_background": 0.999**share}
    return image_tags.expansion(jnp.asarray(batch.present[row]), p[row], **decays)


def test_tags_ask_for_the_labels_that_a_picture_shows_and_for_borders_where_mean_field_has_them():
    config = on("sec", loss={"expansion": 2.0, "boundary": 3.0, "from_step": 0})
    experiment, variables, batch = begun(config)
    assert not batch.known.any()
    p = probabilities(config, variables, batch)
    crf = mean_field.potts(4, appearance=4.0, smoothness=1.0)
    early = batch._replace(regularized=np.zeros(2, np.float32))
    of_tags = values(experiment, variables, early)
    for row, value in enumerate(values(experiment, variables, batch)):
        tagged = 2 * expansion(batch, p, row)
        assert of_tags[row] == pytest.approx(float(tagged), rel=1e-4)
        field = mean_field.field(
            batch.image[row], **weak_losses.kernel(config.loss, 16), sigma_smooth=0.15, radius=1
        )
        proposal = mean_field.solve(field, jnp.log(p[row]), crf, steps=5).value
        expected = tagged + 3 * image_tags.boundary(proposal, p[row])
        assert value == pytest.approx(float(expected), rel=1e-3)
        assert float(expected) > 1.001 * float(tagged)


def test_the_variant_of_tags_has_the_losses_of_seed_expand_and_constrain():
    config = weak_seg.get_config("sec")
    assert config.labels.kind == "tags" and config.loss.from_step == 0
    assert weak_seg.method(config) == "cross entropy + 1 expansion + 1 boundary"
    assert weak_seg.labelling(config) == "tags"


def test_beside_tags_seeds_are_asked_for_where_there_are_clicks_or_masks():
    loss = {"expansion": 1.0, "boundary": 0.0}
    with_clicks = on("sec", labels={"kind": "scribbles", "length": 0.0}, loss=loss)
    experiment, variables, batch = begun(with_clicks)
    p = probabilities(with_clicks, variables, batch)
    for row, value in enumerate(values(experiment, variables, batch)):
        seeding = image_tags.seeding(jnp.asarray(batch.known[row]), p[row])
        assert seeding > 0
        expected = seeding + expansion(batch, p, row)
        assert value == pytest.approx(float(expected), rel=1e-4)
    with_masks = on("sec", labels={"masks": 1.0}, loss=loss)
    experiment, variables, batch = begun(with_masks)
    p = probabilities(with_masks, variables, batch)
    expected = jax.vmap(image_tags.seeding)(batch.known, p)
    np.testing.assert_allclose(values(experiment, variables, batch), expected, rtol=1e-4)


def test_proposals_are_full_masks_made_from_the_scribbles_and_then_from_the_network(tmp_path):
    pytest.importorskip("maxflow")
    first = on("scribble_sup", data={"crop": 0.0}, labels={"length": 0.5})
    train_and_report(weak_seg.make(first), first, tmp_path)
    assert scores(tmp_path)["run"]["loss"].endswith("on ScribbleSup's proposals, round 1")
    experiment = weak_seg.make(first)
    examples = [experiment.example(0, row) for row in range(4)]
    for example in examples:
        assert (example.known.sum(-1) == 1).all()
    second = on("scribble_sup", data={"crop": 0.0}, labels={"length": 0.5, "round": 2})
    second.start_from = str(tmp_path / "checkpoints" / "4")
    weights = pretrained.checkpoint(second.start_from)
    later = [weak_seg.make(second).example(0, row) for row in range(4)]
    again = weak_seg.make(second)  # as after a stop, and in another order
    for row in (3, 0, 3):
        np.testing.assert_array_equal(again.example(0, row).known, later[row].known)
    # Rebuilt here from the weights of the checkpoint; pictures come in the same order.
    source = Embedded("train")
    index_of = order.shuffled(len(source), 2, seed=0)
    network = weak_seg.networks.of(second.network, 4)
    changed = 0
    for row in range(2):
        picture = source[index_of(0, row)]
        strokes = seeds.planes(seeds.shorten(picture.seeds, 0.5), np.arange(4))
        small = network.apply(weights, images.resize(picture.image, 16)[None], False)[0]
        said = images.resize_planes(np.asarray(jax.nn.softmax(small)), *picture.seeds.shape)
        for expected_of, example in (
            (np.full_like(said, 0.25), examples[row]),
            (said, later[row]),
        ):
            segments = scribble_sup.superpixels(picture.image)
            found = scribble_sup.propose(picture.image, segments, expected_of, strokes).labels
            found, known = found.astype(np.uint8), example.known.argmax(-1)
            either = (images.resize_labels(of, 16, 16) for of in (found, found[:, ::-1]))
            assert any((known == of).all() for of in either)
        changed += (examples[row].known != later[row].known).any()
    assert changed


def test_proposals_pull_where_the_energy_pulls_but_are_a_constant():
    """ADM and descent differ in steps, not in what they look for: their slopes agree in sign."""
    slopes = {}
    for variant in ("cross_entropy", "crf", "proposals"):
        experiment, variables, batch = begun(on(variant, loss={"from_step": 0}))

        def total(params, experiment=experiment, variables=variables, batch=batch):
            return values(experiment, {**variables, "params": params}, batch).mean()

        slope = jax.grad(total)(variables["params"])
        slopes[variant] = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(slope)])
    descent = slopes["crf"] - slopes["cross_entropy"]
    proposals = slopes["proposals"] - slopes["cross_entropy"]
    cosine = descent @ proposals / np.linalg.norm(descent) / np.linalg.norm(proposals)
    assert np.isfinite(proposals).all() and cosine > 0.2


def test_a_weight_so_large_that_all_pixels_are_alike_is_told_in_log_and_report(tmp_path, capsys):
    config = on("crf", loss={"crf": 1e4, "from_step": 0}, train={"steps": 30, "epoch": 15})
    config.train.rate = 2e-2
    train_and_report(weak_seg.make(config), config, tmp_path)
    told = "if a run without config.loss.crf does not, lower it, now 10000"
    lines = [line for line in capsys.readouterr().out.splitlines() if told in line]
    assert lines and lines[0].startswith("warning: all pixels alike in ")
    assert sum(told in line for line in (tmp_path / "report.md").read_text().splitlines()) == 1


def test_pictures_with_masks_and_no_scribbles_are_reported_as_they_are_validated(tmp_path, capsys):
    random = np.random.default_rng(0)
    for folder, shape, most in (("images", (20, 24, 3), 256), ("labels", (20, 24), 3)):
        (tmp_path / folder).mkdir()
        for name in ("one", "two"):
            drawn = random.integers(0, most, shape, np.uint8)
            Image.fromarray(drawn).save(tmp_path / folder / f"{name}.png")
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text("one\ntwo\n")
    config = on(
        "crf",
        data={"source": "camvid", "root": str(tmp_path)},
        labels={"masks": 1.0},
        loss={"crf": 1e5, "from_step": 0},
        train={"steps": 30, "epoch": 15, "rate": 2e-2},
    )
    train_and_report(weak_seg.make(config), config, tmp_path / "run")
    assert "warning: all pixels alike in 100%" in capsys.readouterr().out
    found = scores(tmp_path / "run")["network"]
    assert found["collapsed"] == 1 and found["cut"] > 0
    assert "all pixels alike in 100%" in (tmp_path / "run" / "report.md").read_text()


def test_a_layer_of_mean_field_is_trained_with_the_network(tmp_path):
    config = on("layer", network={"crf_rounds": 2}, train={"rate": 0.1})
    experiment, variables, batch = begun(config)
    p = probabilities(config, variables, batch)
    field = mean_field.field(
        batch.image[0], **weak_losses.kernel(config.loss, 16), sigma_smooth=0.15, radius=1
    )
    weights = mean_field.potts(4, appearance=4.0, smoothness=1.0)
    refined = mean_field.solve(field, jnp.log(p[0]), weights, steps=2).value
    expected = -np.log(np.asarray(refined)[batch.known[0].astype(bool)]).mean()
    assert values(experiment, variables, batch)[0] == pytest.approx(expected, rel=1e-4)
    # Its weights move, and a run that begins with the network begins with a layer of its own.
    loop.train(experiment, config, tmp_path)
    trained = pretrained.checkpoint(tmp_path / "checkpoints" / "4")
    # The narrow kernel, 3 pixels of 320, holds a pixel alone here: its weight has no slope.
    for name in ("appearance", "compatibility"):
        first = getattr(weights, name)
        assert (np.abs(np.asarray(trained["params"]["crf"][name]) - first) > 1e-3).any()
    second = on("layer", network={"crf_rounds": 3})
    second.start_from = str(tmp_path / "checkpoints" / "4")
    again = weak_seg.make(second).init(jax.random.key(5))
    np.testing.assert_array_equal(again["params"]["crf"]["appearance"], weights.appearance)
    assert jax.tree.structure(again) == jax.tree.structure(variables)


def test_a_run_begins_with_a_checkpoint_of_another(tmp_path):
    first = on("cross_entropy")
    loop.train(weak_seg.make(first), first, tmp_path)
    second = on("crf")
    second.start_from = str(tmp_path / "checkpoints" / "4")
    begun = weak_seg.make(second).init(jax.random.key(5))
    fresh = weak_seg.make(first).init(jax.random.key(0))
    moved = [(a != b).any() for a, b in zip(*map(jax.tree.leaves, (begun, fresh)), strict=True)]
    assert any(moved)
    other = on("crf", network={"widths": (8, 16)})
    other.start_from = second.start_from
    with pytest.raises(BadInputError, match=r"config\.start_from: wanted a checkpoint of the net"):
        weak_seg.make(other).init(jax.random.key(0))
    other.start_from = str(tmp_path / "checkpoints" / "9")
    with pytest.raises(BadInputError, match="wanted a checkpoint RUN/checkpoints/STEP, got none"):
        weak_seg.make(other).init(jax.random.key(0))


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        ("labels", {"kind": "boxes"}, r"config\.labels\.kind: wanted scribbles or tags or none"),
        ("labels", {"kind": "tags"}, r"config\.loss\.expansion: wanted a weight with tags"),
        ("labels", {"round": 0}, r"config\.labels\.round"),
        (
            "labels",
            {"kind": "proposals", "round": 2},
            r"config\.start_from: wanted a checkpoint of the round before with labels\.round=2",
        ),
        ("loss", {"boundary": -1.0}, r"config\.loss\.boundary"),
        ("labels", {"length": 1.5}, r"config\.labels\.length"),
        ("loss", {"crf_by": "luck"}, r"config\.loss\.crf_by: wanted descent or proposals"),
        ("loss", {"crf_by": "proposals"}, r"config\.loss\.crf_by: wanted a weight for crf alone"),
        ("loss", {"cut": float("nan")}, r"config\.loss\.cut"),
        ("network", {"kind": "hierarchy"}, r"config\.network\.kind: wanted a network of one stage"),
        ("data", {"groups": ((9,),)}, r"groups: wanted each label from 0 to 3"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(part, values, told):
    config = on()
    config[part].update(values)
    with pytest.raises(BadInputError, match=told):
        weak_seg.make(config)


def test_a_folder_of_runs_that_there_is_not_is_refused_before_anything_is_written(tmp_path):
    config = on(report={"runs": str(tmp_path / "none")})
    with pytest.raises(BadInputError, match=r"config\.report\.runs: wanted a folder of runs"):
        train_and_report(weak_seg.make(config), config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("source", ["folder", "camvid", "bsds500"])
@pytest.mark.parametrize("masks", [0.0, 0.5])
def test_where_there_are_no_scribbles_the_choices_of_this_task_are_told(tmp_path, source, masks):
    config = on(data={"source": source, "root": str(tmp_path)}, labels={"masks": masks})
    told = r"wanted a folder of scribbles.*config\.labels\.masks=1.*labels\.kind=none"
    with pytest.raises(BadInputError, match=told):
        weak_seg.make(config)


def test_a_variant_that_there_is_not_is_refused():
    with pytest.raises(BadInputError, match="variant: wanted smoke or one of crf, cut"):
        weak_seg.get_config("fast")

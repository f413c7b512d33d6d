import json

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from energynets.energies import total_variation
from energynets.errors import BadInputError
from energynets.networks import segmentation as networks
from energynets.networks.contextual_hierarchy import halved
from energynets.training.main import train_and_report
from experiments import sparse_seg


def on(variant="tv", **changed):
    """The smoke variant on embedded pictures; keys of its parts by name, such as loss={"tv": 2}."""
    config = sparse_seg.get_config("smoke")
    config.loss.update({"tv": 0.0, **sparse_seg.LOSSES[variant]})
    config.labels.full = variant == "full"
    for part, values in changed.items():
        config[part].update(values)
    return config


def begun(config, count=2):
    experiment = sparse_seg.make(config)
    variables = experiment.init(jax.random.key(0))
    rows = [experiment.example(config.loss.from_step, row) for row in range(count)]
    return experiment, variables, jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def values(experiment, variables, batch):
    return np.asarray(experiment.loss(variables, batch, jax.random.key(0)).values)


@pytest.mark.parametrize("kind", ["patches", "hierarchy"])
def test_smoke_trains_and_reports_both_networks(tmp_path, kind):
    for variant in ("full", "tv"):
        config = on(variant, network={"kind": kind}, report={"runs": str(tmp_path), "pictures": 1})
        train_and_report(sparse_seg.make(config), config, tmp_path / variant)
    scores = json.loads((tmp_path / "tv" / "report.json").read_text())["scores"]
    assert scores["network"]["pixel error"] == pytest.approx(
        1 - scores["network"]["pixel accuracy"]
    )
    text = (tmp_path / "tv" / "report.md").read_text()
    assert f"| {kind} | 10 | supervised + 0.3 TV | network | 1 |" in text
    assert f"| {kind} | all | supervised | network | 1 |" in text
    assert "(figures/errors.png)" in text
    assert ("network, MRF 2" in scores) != ("Without MRF smoothing: " in text)
    if "network, MRF 2" in scores:
        assert scores["network, MRF 2"]["variation"] <= 0.2


def test_errors_are_drawn_against_pixels_with_mrfs_of_the_plain_network_alone(
    tmp_path, monkeypatch
):
    runs = [
        {
            "run": {"network": "pyramid", "pixels": pixels, "loss": loss},
            "network": {"pixel error": error},
            "network, MRF 2": {"pixel error": error / 2},
        }
        for pixels, loss, error in (
            *(("10", "supervised", 0.2), ("10", "supervised", 0.4)),
            *(("50", "supervised", 0.1), ("10", "supervised + 1 TV", 0.3)),
            ("all", "supervised", 0.05),
        )
    ]
    path, methods = tmp_path / "errors.png", ("network", "network, MRF 2")
    sparse_seg.draw_errors(path, runs, methods=methods)
    assert path.stat().st_size > 0
    drawn = []
    monkeypatch.setattr(
        sparse_seg.figures, "draw_along", lambda _, lines, **how: drawn.append(lines)
    )
    sparse_seg.draw_errors(path, runs, methods=methods)
    assert drawn == [
        {
            "pyramid, supervised": {"10": [0.2, 0.4], "50": [0.1]},
            "pyramid, supervised + 1 TV": {"10": [0.3]},
            "pyramid, supervised, all pixels labelled": {"all": [0.05]},
            "pyramid, supervised, MRF 2": {"10": [0.1, 0.2], "50": [0.05]},
        }
    ]


def test_by_default_network_rate_and_weight_are_those_of_the_readmes_table():
    """A weight of 1 made the patch ConvNet's pictures one label; so did none, in 200 steps."""
    config = sparse_seg.get_config()
    assert (config.network.kind, config.train.rate) == ("hierarchy", 3e-3)
    assert (config.loss.tv, config.loss.from_step) == (0.3, 0)
    assert sparse_seg.about(config)["loss"] == "supervised + 0.3 TV"


def test_draws_choose_other_pixels_and_repeat_themselves():
    first, again, other, more = (
        begun(on(labels=changed))[2].known
        for changed in ({"draw": 0}, {"draw": 0}, {"draw": 1}, {"pixels": 50})
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert 0 < first.sum((1, 2, 3)).max() <= 10 < more.sum((1, 2, 3)).min()
    assert begun(on("full"))[2].known.sum((1, 2, 3)).min() > 50


@pytest.mark.parametrize("error", ["cross_entropy", "squared"])
def test_the_loss_is_the_mean_error_and_the_weighted_variation(error):
    config = on(loss={"tv": 3.0, "error": error}, network={"kind": "patches"})
    experiment, variables, batch = begun(config)
    network = networks.of(config.network, 4)
    p = jax.nn.softmax(network.apply(variables, batch.image, False))
    for row, value in enumerate(values(experiment, variables, batch)):
        known, of = batch.known[row], np.asarray(p[row])
        if error == "squared":
            wanted = ((of - known) ** 2).sum(-1)[known.any(-1)].mean()
        else:
            wanted = -np.log(of[known.astype(bool)]).mean()
        wanted += 3 * float(total_variation.energy(batch.image[row], p[row])) / (8 * 16 * 16)
        assert value == pytest.approx(wanted, rel=1e-4)
    early = batch._replace(regularized=np.zeros(2, np.float32))
    assert (values(experiment, variables, early) < values(experiment, variables, batch)).all()


def test_l2_adds_half_the_squares_of_the_kernels():
    plain, variables, batch = begun(on("supervised"))
    heavy, _, _ = begun(on("l2", loss={"l2": 0.1}))
    squares = sum(
        float((np.asarray(leaf) ** 2).sum())
        for leaf in jax.tree.leaves(variables["params"])
        if leaf.ndim > 1
    )
    difference = values(heavy, variables, batch) - values(plain, variables, batch)
    np.testing.assert_allclose(difference, 0.05 * squares, rtol=1e-4)


def test_of_the_hierarchy_every_level_sees_the_labels_and_variation_those_at_full_size():
    config = on(network={"kind": "hierarchy"}, loss={"tv": 3.0})
    experiment, variables, batch = begun(config)
    last, levels = networks.of(config.network, 4).apply(variables, batch.image, False)
    last_alone, first = (
        jax.vmap(total_variation.energy)(batch.image, jax.nn.softmax(of)) / (8 * 256)
        for of in (last, levels[0])
    )
    expected = 3 * (last_alone + first)
    known = [batch.known, batch.known, halved(batch.known)]
    for scores, planes in zip([last, *levels], known, strict=True):
        losses = -(planes * jax.nn.log_softmax(scores)).sum((1, 2, 3))
        expected = expected + losses / planes.sum((1, 2, 3))
    np.testing.assert_allclose(values(experiment, variables, batch), expected, rtol=1e-4)
    told = experiment.predict(variables, batch)["variation"]
    np.testing.assert_allclose(told, last_alone, rtol=1e-4)


def test_weights_are_chosen_by_the_share_of_labelled_pixels_that_are_wrong():
    experiment, variables, batch = begun(on(), count=3)
    found = experiment.predict(variables, batch)
    for row, labels in enumerate(np.asarray(found["labels"])):
        known = batch.known[row].any(-1)
        wrong = labels[known] != batch.known[row].argmax(-1)[known]
        assert float(found["loss"][row]) == pytest.approx(wrong.mean(), abs=1e-6)
    assert (found["objective"] > found["supervision"]).all()


@pytest.mark.parametrize(
    ("part", "changed", "told"),
    [
        ("labels", {"pixels": 0}, r"config\.labels\.pixels"),
        ("loss", {"tv": -1.0}, r"config\.loss\.tv"),
        ("loss", {"error": "hinge"}, r"config\.loss\.error: wanted cross_entropy or squared"),
        ("network", {"kind": "unet"}, r"config\.network\.kind"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(part, changed, told):
    config = on()
    config[part].update(changed)
    with pytest.raises(BadInputError, match=told):
        sparse_seg.make(config)


def test_a_folder_of_runs_that_there_is_not_is_refused_before_anything_is_written(tmp_path):
    config = on(report={"runs": str(tmp_path / "none")})
    with pytest.raises(BadInputError, match=r"config\.report\.runs: wanted a folder of runs"):
        train_and_report(sparse_seg.make(config), config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_variant_that_there_is_not_is_refused():
    with pytest.raises(BadInputError, match="variant: wanted smoke or one of tv, supervised"):
        sparse_seg.get_config("fast")


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in ("one", "two", "three"):
            shape = (20, 24, 3) if folder == "images" else (20, 24)
            drawn = random.integers(0, 256 if folder == "images" else 3, shape, np.uint8)
            Image.fromarray(drawn).save(tmp_path / folder / f"{name}.png")
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text("one\ntwo\nthree\n")
    return tmp_path


def test_a_picture_without_a_mask_is_told_of_before_training_or_left_out(root):
    where = {"source": "folder", "root": str(root), "classes": 3, "validation_count": 0}
    config = on(data=where)
    assert sparse_seg.make(config).validation.length == 3
    (root / "masks" / "two.png").unlink()
    with pytest.raises(
        BadInputError, match=r"masks/two\.png: wanted .* no such file .*skip_broken"
    ):
        sparse_seg.make(config)
    config.data.skip_broken = True
    assert sparse_seg.make(config).validation.length == 2


@pytest.mark.parametrize(("kind", "classes"), [("camvid", 11), ("bsds500", 2)])
def test_pixels_are_drawn_from_published_data_sets(root, kind, classes):
    (root / "masks").rename(root / "labels")
    (root / "groundTruth").mkdir()
    people = np.empty((1, 1), object)
    people[0, 0] = {"Boundaries": np.eye(20, 24, dtype=np.uint8)}
    for name in ("one", "two", "three"):
        path = root / "groundTruth" / f"{name}.mat"
        savemat(path, {"groundTruth": people}, do_compression=True)
    _, _, batch = begun(on(data={"source": kind, "root": str(root)}))
    assert batch.known.shape == (2, 16, 16, classes)
    assert 0 < batch.known.sum() <= 20

import shutil

import numpy as np
import pytest
from PIL import Image

from energynets.errors import BadInputError
from energynets.training import main
from energynets.training.journal import read_metrics
from experiments import seeded_seg
from tests.experiments.discs import TRAIN, on, same, scores, trained


def test_without_masks_the_weights_are_the_same_bits(root, tmp_path):
    with_masks = trained(on(root), tmp_path / "with")
    shutil.rmtree(root / "masks")
    assert same(trained(on(root), tmp_path / "without"), with_masks)
    assert "validation/mean_iou" not in read_metrics(tmp_path / "without")[0]


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

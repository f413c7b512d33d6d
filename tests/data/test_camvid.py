import numpy as np
import pytest
from PIL import Image

from energynets.data.camvid import CLASSES, camvid
from energynets.errors import BadInputError


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("one", "two"):
        colours = random.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(colours).save(tmp_path / "images" / f"{name}.png")
        labels = random.permutation(np.arange(48) % 12).reshape(6, 8).astype(np.uint8)
        Image.fromarray(labels).save(tmp_path / "labels" / f"{name}.png")
    (tmp_path / "train.txt").write_text("one\ntwo\n")
    return tmp_path


def test_labels_are_masks_whose_value_11_is_void_and_nothing_is_seeded(root):
    source = camvid(root, "train")
    assert source.classes == CLASSES == 11 and len(source) == 2
    with Image.open(root / "labels" / "two.png") as labels:
        held = np.asarray(labels)
    mask = source.mask(1)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask == 255, held == 11)
    np.testing.assert_array_equal(mask[held < 11], held[held < 11])
    np.testing.assert_array_equal(source[1].seeds, np.full((6, 8), 255))


def test_missing_labels_are_an_error_that_names_the_file(root):
    (root / "labels" / "two.png").unlink()
    with pytest.raises(BadInputError, match=r"labels/two\.png: wanted .* got no such file"):
        camvid(root, "train").mask(1)


def test_a_label_beyond_the_eleven_is_refused(root):
    Image.fromarray(np.full((6, 8), 12, np.uint8)).save(root / "labels" / "one.png")
    with pytest.raises(BadInputError, match=r"labels/one\.png: wanted labels from 0 to 10.*got 12"):
        camvid(root, "train").mask(0)

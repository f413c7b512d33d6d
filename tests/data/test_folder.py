import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from energynets.data.folder import Folder
from energynets.errors import BadInputError

SHAPES = {"one": (12, 9), "two": (7, 15), "der dritte": (5, 5)}
ENDINGS = {"one": "png", "two": "jpg", "der dritte": "JPEG"}


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("images", "scribbles", "masks"):
        (tmp_path / folder).mkdir()
    for name, shape in SHAPES.items():
        colours = random.integers(0, 256, (*shape, 3), np.uint8)
        Image.fromarray(colours).save(tmp_path / "images" / f"{name}.{ENDINGS[name]}")
        for folder, values in (("scribbles", [0, 1, 2, 255]), ("masks", [0, 1, 2])):
            labels = random.choice(values, shape).astype(np.uint8)
            Image.fromarray(labels).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "train.txt").write_text("one\ntwo\n\nder dritte\n", encoding="utf-8-sig")
    (tmp_path / "val.txt").write_text("two\r\n")
    return tmp_path


def same(first, second):
    assert first.name == second.name
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.seeds, second.seeds)


def test_a_folder_is_read_in_the_order_of_its_list(root):
    source = Folder(root, "train", classes=3)
    assert len(source) == 3 and source.classes == 3
    assert [source.name(i) for i in range(3)] == list(SHAPES)
    for index, (name, shape) in enumerate(SHAPES.items()):
        picture = source[index]
        assert picture.name == name
        assert picture.image.shape == (*shape, 3) and picture.image.dtype == np.float32
        with Image.open(root / "scribbles" / f"{name}.png") as scribbles:
            np.testing.assert_array_equal(picture.seeds, np.asarray(scribbles))
        with Image.open(root / "masks" / f"{name}.png") as mask:
            np.testing.assert_array_equal(source.mask(index), np.asarray(mask))
    same(Folder(root, "val", classes=3)[0], source[1])


def test_masks_are_not_opened_for_training(root):
    source = Folder(root, "train", classes=3)
    before = [source[i] for i in range(3)]
    for path in (root / "masks").iterdir():
        path.write_bytes(b"not a picture")
    for index in range(3):
        same(source[index], before[index])
    shutil.rmtree(root / "masks")
    for index in range(3):
        same(source[index], before[index])
        assert source.mask(index) is None


def test_without_scribbles_nothing_is_seeded(root):
    shutil.rmtree(root / "scribbles")
    picture = Folder(root, "train", classes=3)[0]
    np.testing.assert_array_equal(picture.seeds, np.full(SHAPES["one"], 255))


def test_any_order_and_any_thread_read_the_same(root):
    source = Folder(root, "train", classes=3)
    indices = [2, 0, 1, 1, 0, 2] * 5
    once = [source[i] for i in range(3)]
    with ThreadPoolExecutor(4) as pool:
        for index, picture in zip(indices, pool.map(source.__getitem__, indices), strict=True):
            same(picture, once[index])


def test_a_missing_folder_and_a_missing_list_are_named(root, tmp_path):
    with pytest.raises(BadInputError, match=r"nowhere/images: wanted a folder of images, got no"):
        Folder(tmp_path / "nowhere", "train", classes=3)
    with pytest.raises(
        BadInputError, match=r"test\.txt: wanted .* 'test'.*, got .* beside train\.txt, val\.txt"
    ):
        Folder(root, "test", classes=3)


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_an_empty_list_is_refused(root, content):
    (root / "train.txt").write_text(content)
    with pytest.raises(BadInputError, match=r"train\.txt: wanted .* one picture, got an empty"):
        Folder(root, "train", classes=3)


def test_a_list_that_is_no_text_is_refused(root):
    (root / "train.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(BadInputError, match=r"train\.txt: wanted UTF-8 text, got other bytes"):
        Folder(root, "train", classes=3)


def test_a_listed_picture_that_is_missing_is_named(root):
    (root / "train.txt").write_text("four")
    with pytest.raises(BadInputError, match=r"images/four: wanted an image .* got no such file"):
        Folder(root, "train", classes=3)[0]


def test_missing_scribbles_of_one_picture_are_named(root):
    (root / "scribbles" / "one.png").unlink()
    with pytest.raises(BadInputError, match=r"scribbles/one\.png: wanted .* got no such file"):
        Folder(root, "train", classes=3)[0]


@pytest.mark.parametrize("folder", ["scribbles", "masks"])
def test_a_map_of_another_size_than_its_image_is_refused(root, folder):
    Image.fromarray(np.zeros((9, 12), np.uint8)).save(root / folder / "one.png")
    source = Folder(root, "train", classes=3)
    with pytest.raises(BadInputError, match=rf"{folder}/one\.png: wanted .* 9×12, got 12×9"):
        source[0] if folder == "scribbles" else source.mask(0)


@pytest.mark.parametrize("folder", ["scribbles", "masks"])
def test_a_label_out_of_range_is_refused(root, folder):
    source = Folder(root, "train", classes=2)
    with pytest.raises(BadInputError, match=rf"{folder}/one\.png: wanted .* 0 to 1, .* got 2"):
        source[0] if folder == "scribbles" else source.mask(0)


def test_scribbles_in_colours_are_refused(root):
    Image.fromarray(np.zeros((12, 9, 3), np.uint8)).save(root / "scribbles" / "one.png")
    with pytest.raises(BadInputError, match=r"one\.png: wanted labels .* got mode RGB"):
        Folder(root, "train", classes=3)[0]


@pytest.mark.parametrize(
    ("line", "told"),
    [("1.png", "the list has names without endings"), ("a" * 999, "got no such file")],
)
def test_a_list_of_other_things_than_names_is_refused(root, line, told):
    (root / "train.txt").write_text(line)
    with pytest.raises(BadInputError, match=told):
        Folder(root, "train", classes=3)[0]

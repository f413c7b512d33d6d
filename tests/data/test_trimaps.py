import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from energynets.data import trimaps
from energynets.errors import BadInputError


def three(unknown=128, shape=(9, 12)):
    """Background at the left, foreground at the right, and what is unknown between."""
    values = np.full(shape, unknown, np.uint8)
    values[:, :4], values[:, 8:] = 0, 255
    return values


def written(path, picture):
    picture.save(path)
    return path


@pytest.mark.parametrize("unknown", [50, 102, 127, 128, 200])
def test_any_grey_between_is_unknown(tmp_path, unknown):
    path = written(tmp_path / "t.png", Image.fromarray(three(unknown)))
    np.testing.assert_array_equal(trimaps.read_trimap(path), three(128))


def test_modes_and_formats_do_not_matter(tmp_path):
    expected = three(128)
    palette = Image.fromarray((expected // 127).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 127, 127, 127, 255, 255, 255])
    pictures = {
        "rgb.png": Image.fromarray(expected).convert("RGB"),
        "rgba.png": Image.fromarray(expected).convert("RGBA"),
        "sixteen.png": Image.fromarray(expected.astype(np.uint16) * 257),
        "palette.png": palette,
        "lossy.jpg": Image.fromarray(expected),
    }
    for name, picture in pictures.items():
        found = trimaps.read_trimap(written(tmp_path / name, picture))
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_see_through_pixels_are_unknown(tmp_path):
    rgba = np.dstack([three(0)] * 3 + [np.where(three() == 128, 0, 255)]).astype(np.uint8)
    path = written(tmp_path / "t.png", Image.fromarray(rgba))
    np.testing.assert_array_equal(trimaps.read_trimap(path), three(128))


def test_a_trimap_that_lacks_a_side_is_refused_and_says_which():
    full = three()
    trimaps.refuse_one_sided(full, "t")
    trimaps.refuse_one_sided(np.where(full == 128, 0, full), "t")  # nothing unknown is no fault
    with pytest.raises(BadInputError, match=r"t: .*got no foreground$"):
        trimaps.refuse_one_sided(np.where(full == 255, 128, full), "t")
    with pytest.raises(BadInputError, match=r"t: .*got no background$"):
        trimaps.refuse_one_sided(np.where(full == 0, 128, full), "t")
    with pytest.raises(BadInputError, match=r"got no foreground and no background$"):
        trimaps.refuse_one_sided(np.full_like(full, 128), "t")


def test_planes_are_background_and_foreground():
    planes = trimaps.planes(three())
    assert planes.shape == (9, 12, 2) and planes.dtype == np.float32
    np.testing.assert_array_equal(planes[..., 0], three() == 0)
    np.testing.assert_array_equal(planes[..., 1], three() == 255)


def test_masks_of_every_kind_name_the_same_object(tmp_path):
    inside = np.zeros((9, 12), bool)
    inside[2:6, 3:9] = True
    expected = np.where(inside, 255, 0).astype(np.uint8)
    coloured = Image.fromarray(np.where(inside, 15, 0).astype(np.uint8)).convert("P")
    coloured.putpalette([0, 0, 0] + 14 * [9, 9, 9] + [192, 128, 128])
    cut = np.full((9, 12, 4), 90, np.uint8)
    cut[..., 3] = expected
    red = np.zeros((9, 12, 3), np.uint8)
    red[inside] = 255, 0, 0
    pictures = {
        "grey": Image.fromarray(expected),
        "bits": Image.fromarray(inside),
        "labels": Image.fromarray(np.where(inside, 3, 0).astype(np.uint8)),
        "sixteen": Image.fromarray(expected.astype(np.uint16) * 257),
        "palette with colours": coloured,
        "cut out": Image.fromarray(cut),
        "red": Image.fromarray(red),
    }
    for name, picture in pictures.items():
        found = trimaps.read_mask(written(tmp_path / f"{name}.png", picture))
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_void_of_a_coloured_palette_is_unknown(tmp_path):
    index = np.array([[0, 1, 255]], np.uint8)
    picture = Image.fromarray(index).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0] + 254 * [224, 224, 192])
    found = trimaps.read_mask(written(tmp_path / "m.png", picture))
    np.testing.assert_array_equal(found, [[0, 255, 128]])


def slow_band(mask, width):
    trimap = mask.copy()
    for row, column in np.ndindex(mask.shape):
        for other in np.ndindex(mask.shape):
            near = np.hypot(row - other[0], column - other[1]) <= width
            if near and mask[other] != mask[row, column]:
                trimap[row, column] = 128
    return trimap


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 99), st.sampled_from([0, 0.5, 1, 1.5, 2, 3.2]))
def test_the_band_is_all_that_lies_within_its_width_of_another_kind(seed, width):
    random = np.random.default_rng(seed)
    mask = random.choice(np.array([0, 255, 128], np.uint8), (7, 8), p=[0.5, 0.45, 0.05])
    np.testing.assert_array_equal(trimaps.from_mask(mask, width), slow_band(mask, width))


def test_a_mask_of_one_kind_has_no_band():
    for value in (0, 255):
        mask = np.full((5, 6), value, np.uint8)
        np.testing.assert_array_equal(trimaps.from_mask(mask, 3), mask)


@pytest.mark.parametrize("width", [-1, float("nan"), float("inf")])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(BadInputError, match="width: wanted a finite number"):
        trimaps.from_mask(three(), width)


@pytest.mark.parametrize("read", [trimaps.read_trimap, trimaps.read_mask])
def test_a_file_that_cannot_be_read_says_so(tmp_path, read):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(BadInputError, match=r"broken\.png: wanted a readable image"):
        read(tmp_path / "broken.png")
    with pytest.raises(BadInputError, match="no such file"):
        read(tmp_path / "absent.png")

import numpy as np
import pytest
from PIL import Image, ImageOps

from energynets.data import planes
from energynets.errors import BadInputError

GREY = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)


def saved(path, picture, held=1):
    exif = Image.Exif()
    exif[0x0112] = held
    picture.save(path, exif=exif)
    return path


@pytest.mark.parametrize("held", range(1, 9))
def test_arrays_are_turned_as_pillow_turns_pictures(tmp_path, held):
    path = saved(tmp_path / "a.png", Image.fromarray(GREY), held)
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert planes.orientation(path) == held
    np.testing.assert_array_equal(planes.upright(GREY, held), expected)
    np.testing.assert_array_equal(planes.read_grey(path).values, expected)


@pytest.mark.parametrize("held", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_upright(tmp_path, held):
    assert planes.orientation(saved(tmp_path / "a.png", Image.fromarray(GREY), held)) == 1
    np.testing.assert_array_equal(planes.upright(GREY, held), GREY)


def test_a_map_drawn_over_the_stored_pixels_is_turned_as_its_picture():
    np.testing.assert_array_equal(planes.aligned(GREY, "s", (5, 7, 3), 6), GREY)
    turned = planes.aligned(GREY, "s", (7, 5, 3), 6)
    np.testing.assert_array_equal(turned, np.rot90(GREY, -1))
    with pytest.raises(BadInputError, match="s: wanted the size of its image, 5×7, got 7×5"):
        planes.aligned(GREY, "s", (7, 5, 3), 1)


def modes():
    yield "L", Image.fromarray(GREY)
    yield "RGB", Image.fromarray(GREY).convert("RGB")
    yield "RGBA", Image.fromarray(GREY).convert("RGBA")
    yield "LA", Image.fromarray(GREY).convert("LA")
    palette = Image.fromarray(255 - GREY, mode=None).convert("P")
    palette.putpalette([255 - v for v in range(256) for _ in range(3)])
    yield "P", palette
    yield "I;16", Image.fromarray(GREY.astype(np.uint16) * 257)


@pytest.mark.parametrize(("mode", "picture"), list(modes()))
def test_grey_is_read_from_every_mode(tmp_path, mode, picture):
    picture.save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == mode
    values, seen = planes.read_grey(tmp_path / "a.png")
    np.testing.assert_array_equal(values, GREY)
    assert seen.all()


def test_one_bit_and_floats_are_read_as_well(tmp_path):
    Image.fromarray(GREY > 99).save(tmp_path / "a.png")
    np.testing.assert_array_equal(planes.read_grey(tmp_path / "a.png").values, 255 * (GREY > 99))
    floats = (GREY / 255).astype(np.float32)
    floats[0, 0] = np.nan
    Image.fromarray(floats).save(tmp_path / "a.tif")
    expected = GREY.copy()
    expected[0, 0] = 0
    np.testing.assert_array_equal(planes.read_grey(tmp_path / "a.tif").values, expected)


def test_what_is_see_through_is_told(tmp_path):
    shown = np.random.default_rng(1).random(GREY.shape) < 0.5
    rgba = np.dstack([GREY, GREY, GREY, 255 * shown]).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(planes.read_grey(tmp_path / "a.png").seen, shown)


def test_colours_are_refused_and_those_of_jpeg_are_not(tmp_path):
    colours = np.random.default_rng(2).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    with pytest.raises(BadInputError, match="without colours"):
        planes.read_grey(tmp_path / "a.png")
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    Image.fromarray(smooth).convert("RGB").save(tmp_path / "a.jpg", quality=60)
    found = planes.read_grey(tmp_path / "a.jpg").values
    np.testing.assert_allclose(found.astype(int), smooth, atol=16)

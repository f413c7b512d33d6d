import numpy as np
import pytest
from PIL import Image

from energynets.data import strokes
from energynets.errors import BadInputError

SEEDS = np.full((6, 8), 255, np.uint8)
SEEDS[1, 1:4], SEEDS[4, 2:7] = 0, 3


def written(path, picture):
    picture.save(path)
    return path


def test_seeds_are_read_from_every_mode(tmp_path):
    see_through = np.dstack([np.where(SEEDS == 255, 77, SEEDS)] * 3 + [255 * (SEEDS != 255)])
    palette = Image.fromarray(SEEDS).convert("P")
    palette.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    sixteen = np.where(SEEDS == 255, 65535, SEEDS).astype(np.uint16)
    pictures = {
        "grey": Image.fromarray(SEEDS),
        "palette": palette,
        "rgb": Image.fromarray(SEEDS).convert("RGB"),
        "rgba": Image.fromarray(see_through.astype(np.uint8)),
        "sixteen": Image.fromarray(sixteen),
    }
    for name, picture in pictures.items():
        path = written(tmp_path / f"{name}.png", picture)
        np.testing.assert_array_equal(strokes.read_seeds(path), SEEDS, err_msg=name)


def test_coloured_seeds_are_refused(tmp_path):
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[..., 0] = 200
    with pytest.raises(BadInputError, match="grey values or palette indices, got colours"):
        strokes.read_seeds(written(tmp_path / "s.png", Image.fromarray(colours)))
    with pytest.raises(BadInputError, match="got mode F"):
        strokes.read_seeds(written(tmp_path / "s.tif", Image.fromarray(np.zeros((4, 4), "f4"))))


EXPECTED = np.full((6, 8), 128, np.uint8)
EXPECTED[1, 1:4], EXPECTED[4, 2:7] = 0, 255


def test_strokes_over_a_copy_of_the_picture_leave_out_what_equals_it(tmp_path):
    image = np.random.default_rng(1).uniform(0.1, 0.9, (6, 8, 3)).astype(np.float32)
    image[0, 0], image[0, 1] = 0, 1  # black and white of the picture itself are no strokes
    drawn = np.rint(image * 255).astype(np.uint8)
    drawn[EXPECTED == 0], drawn[EXPECTED == 255] = 0, 255
    path = written(tmp_path / "s.png", Image.fromarray(drawn))
    np.testing.assert_array_equal(strokes.read_scribbles(path, image), EXPECTED)
    # Nothing tells the picture's own black and white from strokes where it is not known.
    alone = strokes.read_scribbles(path)
    assert alone[0, 0] == 0 and alone[0, 1] == 255
    assert np.array_equal(alone[1:], EXPECTED[1:])


def test_strokes_on_grey_or_see_through_ground_and_labels_are_understood(tmp_path):
    white = np.ones((6, 8, 3), np.float32)  # a picture that equals the strokes, but not the ground
    rgba = np.dstack([EXPECTED] * 3 + [255 * (EXPECTED != 128)]).astype(np.uint8)
    labels = np.select([EXPECTED == 0, EXPECTED == 255], [0, 1], 255).astype(np.uint8)
    yellow = np.full((6, 8, 3), (200, 200, 0), np.uint8)
    yellow[EXPECTED == 0], yellow[EXPECTED == 255] = 0, 255
    pictures = {
        "grey": Image.fromarray(EXPECTED),
        "see-through": Image.fromarray(rgba),
        "labels": Image.fromarray(labels),
        "yellow": Image.fromarray(yellow),
    }
    for name, picture in pictures.items():
        path = written(tmp_path / f"{name}.png", picture)
        found = strokes.read_scribbles(path, white)
        np.testing.assert_array_equal(found, EXPECTED, err_msg=name)

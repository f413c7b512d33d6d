import numpy as np
import pytest

from energynets.data import seeds, weak_labels
from energynets.data.source import Picture

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((24, 32, 3)).astype(np.float32)
SEEDS = np.full((24, 32), 255, np.uint8)
SEEDS[3, 4:20], SEEDS[15, 10:30] = 0, 2
MASK = np.zeros((24, 32), np.uint8)
MASK[12:] = 2
MASK[11] = 255
PICTURE = Picture("one", IMAGE, SEEDS)


def built(**how):
    return weak_labels.example(PICTURE, size=12, classes=3, **how)


def test_scribbles_are_known_and_their_labels_may_be_present():
    made = built()
    np.testing.assert_array_equal(made.known, seeds.planes(seeds.shrink(SEEDS, 12), np.arange(3)))
    np.testing.assert_array_equal(made.present, [1, 0, 1])
    assert made.image.shape == (12, 12, 3) and made.regularized == 1
    assert built(regularized=False).regularized == 0


def test_clicks_leave_one_pixel_of_each_stroke():
    assert built(length=0.0).known.sum() == 2


def test_tags_tell_which_labels_there_are_and_no_place():
    made = built(kind="tags")
    assert not made.known.any()
    np.testing.assert_array_equal(made.present, [1, 0, 1])


def test_of_a_picture_without_labels_any_label_may_be_present():
    made = built(kind="none")
    assert not made.known.any() and made.present.all()


@pytest.mark.parametrize("kind", ["scribbles", "tags", "none"])
def test_a_mask_is_known_everywhere_but_where_it_is_void(kind):
    made = built(kind=kind, mask=MASK)
    np.testing.assert_array_equal(made.known.sum(-1), built(mask=MASK).known.sum(-1))
    assert made.known[..., 0].any() and made.known[..., 2].any()
    assert made.known.sum() < 12 * 12
    np.testing.assert_array_equal(made.present, [1, 0, 1])


def test_image_and_labels_are_cut_and_flipped_alike():
    picture = Picture("two", np.repeat(MASK[..., None] / 2.0, 3, -1).astype(np.float32), SEEDS)
    mask = (MASK == 2).astype(np.uint8) * 2
    picture = picture._replace(image=np.repeat(mask[..., None] / 2.0, 3, -1).astype(np.float32))
    turned = set()
    for seed in range(12):
        random = np.random.default_rng(seed)
        made = weak_labels.example(picture, size=24, classes=3, mask=mask, random=random, crop=0.5)
        inside = (made.image[..., 0] < 0.05) | (made.image[..., 0] > 0.95)
        np.testing.assert_array_equal(made.image[..., 0][inside] > 0.5, made.known[..., 2][inside])
        turned.add(made.known[..., 2].mean().round(3))
    assert len(turned) > 3  # some were cut out


def test_random_pixels_carry_the_masks_labels_and_none_is_void():
    drawn = weak_labels.pixels(MASK, 10, np.random.default_rng(1))
    chosen = drawn != 255
    assert chosen.sum() == 10
    np.testing.assert_array_equal(drawn[chosen], MASK[chosen])
    again = weak_labels.pixels(MASK, 10, np.random.default_rng(2))
    assert (again != drawn).any()
    everything = weak_labels.pixels(MASK, 10**6, np.random.default_rng(3))
    np.testing.assert_array_equal(everything, MASK)

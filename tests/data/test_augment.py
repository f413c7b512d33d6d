import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from energynets.data import augment


def numbered(height, width):
    """A picture and two maps in which every pixel knows its own place."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, 0 * rows], -1).astype(np.float32)
    return image, rows.astype(np.uint8), columns.astype(np.uint8)


@given(
    st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 1), st.booleans(), st.integers(0, 999)
)
def test_crops_flips_and_turns_move_the_image_and_its_maps_alike(
    height, width, least, turns, state
):
    random = np.random.default_rng(state)
    image, maps = numbered(height, width)[0], numbered(height, width)[1:]
    image, maps = augment.crop(image, *maps, random=random, least=least)
    image, maps = augment.flip_and_turn(image, *maps, random=random, turns=turns)
    np.testing.assert_array_equal(image[..., 0], maps[0])
    np.testing.assert_array_equal(image[..., 1], maps[1])


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 1), st.integers(0, 999))
def test_a_crop_is_an_unbroken_square_no_smaller_than_asked(height, width, least, state):
    image, rows, columns = numbered(height, width)
    random = np.random.default_rng(state)
    cropped, (rows, columns) = augment.crop(image, rows, columns, random=random, least=least)
    side = len(cropped)
    assert cropped.shape == (side, side, 3)
    assert max(1, round(least * min(height, width))) <= side <= min(height, width)
    np.testing.assert_array_equal(rows - rows[:1], np.mgrid[:side, :side][0])
    np.testing.assert_array_equal(columns - columns[:, :1], np.mgrid[:side, :side][1])


def test_every_place_and_every_side_is_drawn():
    image, rows, columns = numbered(6, 9)
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(2000):
        _, (r, c) = augment.crop(image, rows, columns, random=random, least=0.5)
        seen.add((len(r), int(r[0, 0]), int(c[0, 0])))
    assert seen == {
        (side, top, left)
        for side in (3, 4, 5, 6)
        for top in range(6 - side + 1)
        for left in range(9 - side + 1)
    }


def test_turns_give_all_eight_views_and_without_them_only_two():
    image, rows, columns = numbered(4, 4)
    for turns, views in ((True, 8), (False, 2)):
        random = np.random.default_rng(0)
        seen = set()
        for _ in range(200):
            turned, _ = augment.flip_and_turn(image, rows, columns, random=random, turns=turns)
            seen.add(turned.tobytes())
        assert len(seen) == views


def test_the_same_generator_gives_the_same_crop_and_the_input_is_left_alone():
    image, rows, columns = numbered(9, 7)
    before = image.copy()
    first, second = (
        augment.crop(image, rows, columns, random=np.random.default_rng(5), least=0.3)[0]
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, before)

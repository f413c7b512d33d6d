import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from energynets.data import seeds
from energynets.data.source import NO_SEED

MAPS = arrays(
    np.uint8,
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    elements=st.sampled_from([0, 1, 2, 20, 255]),
)


def slow_shrink(strokes, size):
    height, width = strokes.shape
    votes = [[{} for _ in range(size)] for _ in range(size)]
    for row in range(height):
        for column in range(width):
            label = int(strokes[row, column])
            if label != NO_SEED:
                # The pixel's centre lies at (row + 1/2) / height of the way down.
                small = votes[(2 * row + 1) * size // (2 * height)]
                pixel = small[(2 * column + 1) * size // (2 * width)]
                pixel[label] = pixel.get(label, 0) + 1
    return np.array(
        [[min(v, key=lambda k: (-v[k], k)) if v else NO_SEED for v in row] for row in votes],
        np.uint8,
    )


@given(MAPS, st.integers(1, 25))
def test_shrink_equals_a_loop_over_the_pixels(strokes, size):
    small = seeds.shrink(strokes, size)
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small, slow_shrink(strokes, size))


@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 13))
def test_a_stroke_of_one_pixel_stays_whole_when_shrunk(angle):
    strokes = np.full((375, 500), NO_SEED, np.uint8)
    along = np.arange(-150, 150, 0.25)
    rows = np.round(187 + along * np.sin(angle)).astype(int)
    columns = np.round(250 + along * np.cos(angle)).astype(int)
    strokes[rows, columns] = 3
    small = seeds.shrink(strokes, 128)
    expected = {
        ((2 * r + 1) * 128 // 750, (2 * c + 1) * 128 // 1000)
        for r, c in zip(rows, columns, strict=True)
    }
    assert expected == set(zip(*(n.tolist() for n in np.nonzero(small == 3)), strict=True))
    assert set(np.unique(small)) == {3, NO_SEED}


@given(MAPS)
def test_shrinking_a_square_to_its_own_size_changes_nothing(strokes):
    side = min(strokes.shape)
    square = strokes[:side, :side]
    np.testing.assert_array_equal(seeds.shrink(square, side), square)


def test_a_map_without_seeds_shrinks_to_one_without():
    small = seeds.shrink(np.full((7, 9), NO_SEED, np.uint8), 4)
    np.testing.assert_array_equal(small, np.full((4, 4), NO_SEED))


@given(MAPS, st.floats(0, 1), st.integers(0, 2**32))
def test_hide_only_removes_and_leaves_the_least_of_every_label(strokes, least, state):
    before = strokes.copy()
    shown = seeds.hide(strokes, np.random.default_rng(state), least=least)
    np.testing.assert_array_equal(strokes, before)
    stays = shown != NO_SEED
    np.testing.assert_array_equal(shown[stays], strokes[stays])
    for label in np.unique(strokes[strokes != NO_SEED]):
        whole = np.sum(strokes == label)
        assert np.sum(shown == label) >= max(1, np.floor(least * whole))


def test_hide_with_a_least_share_of_one_hides_nothing():
    strokes = np.random.default_rng(0).choice([0, 1, 255], (20, 30)).astype(np.uint8)
    shown = seeds.hide(strokes, np.random.default_rng(1), least=1.0)
    np.testing.assert_array_equal(shown, strokes)


def test_what_hide_leaves_of_a_label_lies_on_one_side_of_a_line():
    strokes = np.zeros((30, 30), np.uint8)
    for state in range(20):
        shown = seeds.hide(strokes, np.random.default_rng(state), least=0.2)
        kept, gone = np.argwhere(shown == 0), np.argwhere(shown != 0)
        angle = np.random.default_rng(state).uniform(0, 2 * np.pi)
        normal = np.array([np.sin(angle), np.cos(angle)])
        assert not len(gone) or (kept @ normal).max() <= (gone @ normal).min() + 1e-9


def test_labels_come_by_size_and_equal_sizes_by_label():
    strokes = np.array([[5, 5, 5, 9], [2, 2, 255, 7], [7, 255, 255, 255]], np.uint8)
    assert seeds.labels_of(strokes, 4).tolist() == [5, 2, 7, 9]
    assert seeds.labels_of(strokes, 2).tolist() == [5, 2]
    assert seeds.labels_of(strokes, 6).tolist() == [5, 2, 7, 9, -1, -1]
    assert seeds.labels_of(np.full((2, 2), 255, np.uint8), 2).tolist() == [-1, -1]
    assert seeds.labels_of(strokes, 2).dtype == np.int32


@given(MAPS, st.integers(1, 6))
def test_planes_are_one_where_the_seed_has_their_label_and_nowhere_else(strokes, count):
    labels = seeds.labels_of(strokes, count)
    planes = seeds.planes(strokes, labels)
    assert planes.shape == (*strokes.shape, count) and planes.dtype == np.float32
    assert planes.sum(-1).max(initial=0) <= 1
    for place, label in enumerate(labels):
        np.testing.assert_array_equal(planes[..., place], strokes == label if label >= 0 else 0)


def test_labels_are_counted_by_their_seeds():
    known = np.full((4, 4), 255, np.uint8)
    assert seeds.count(known) == 0
    known[0, :2], known[3, 3] = 0, 20
    assert seeds.count(known) == 2


def test_a_shortened_stroke_keeps_its_middle_and_a_click_is_left_at_0():
    drawn = np.full((20, 30), NO_SEED, np.uint8)
    drawn[4, 5:25] = 1
    drawn[10:12, 3:13] = 2
    half = seeds.shorten(drawn, 0.5)
    assert [(half == label).sum() for label in (1, 2)] == [10, 10]
    assert (half[4, 10:19] == 1).all() and (half[10:12, 6:10] == 2).all()
    click = seeds.shorten(drawn, 0.0)
    assert [(click == label).sum() for label in (1, 2)] == [1, 1]
    assert seeds.shorten(drawn, 1.0) is drawn
    for ratio in (0.0, 0.3, 0.7):
        kept = seeds.shorten(drawn, ratio)
        assert ((kept == NO_SEED) | (kept == drawn)).all()


def test_strokes_of_one_label_are_shortened_each_and_along_their_bends():
    drawn = np.full((20, 20), NO_SEED, np.uint8)
    drawn[2:16, 2], drawn[15, 2:8], drawn[2:16, 7] = 1, 1, 1  # a U
    drawn[3, 12:17] = 1
    kept = seeds.shorten(drawn, 0.3)
    assert (kept[3, 12:17] == 1).sum() == round(0.3 * 5)
    # What is left of the U is one piece: a ball around its middle would leave two.
    rows = np.nonzero(kept[:, :10] == 1)[0]
    assert len(rows) == round(0.3 * (drawn[:, :10] == 1).sum())
    assert ndimage.label(kept[:, :10] == 1, np.ones((3, 3)))[1] == 1

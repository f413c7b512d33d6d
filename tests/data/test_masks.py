import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from energynets.data import masks
from energynets.data.source import Picture
from energynets.errors import BadInputError

MASKS = arrays(
    np.uint8,
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    elements=st.sampled_from([0, 0, 0, 1, 1, 7, 255]),
)


def flood(mask, row, column):
    """All pixels that steps to the 4 neighbours reach without leaving the label."""
    region = np.zeros(mask.shape, bool)
    waiting = [(row, column)]
    while waiting:
        r, c = waiting.pop()
        inside = 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1]
        if inside and not region[r, c] and mask[r, c] == mask[row, column]:
            region[r, c] = True
            waiting += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return region


@given(MASKS, st.floats(0, 0.3))
def test_pieces_are_what_flooding_finds_less_what_is_small(mask, least):
    left = mask != 255
    expected = set()
    while left.any():
        row, column = np.argwhere(left)[0]
        region = flood(mask, row, column)
        left &= ~region
        if region.sum() >= least * mask.size:
            expected.add((int(mask[row, column]), region.tobytes()))
    found = masks.pieces(mask, least=least)
    assert len(found) == len(expected)
    assert {(piece.label, piece.region.tobytes()) for piece in found} == expected
    assert [piece.label for piece in found] == sorted(piece.label for piece in found)


def test_objects_are_the_pieces_above_background():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:8, 2:8] = 5
    mask[12:18, 2:8] = 5  # a second object of the same label
    mask[10, 15] = 9  # one pixel of 400 is below one in 200
    found = masks.objects(mask)
    assert [piece.label for piece in found] == [5, 5]
    assert [int(np.argwhere(piece.region)[0, 0]) for piece in found] == [2, 12]
    assert [piece.label for piece in masks.objects(mask, least=1 / 400)] == [5, 5, 9]


@given(MASKS)
def test_two_classes_are_one_object_and_all_the_rest(mask):
    for piece in masks.objects(mask, least=0.0):
        isolated = masks.two_class(mask, piece)
        assert isolated.dtype == np.uint8
        np.testing.assert_array_equal(isolated == 1, piece.region)
        np.testing.assert_array_equal(isolated == 255, mask == 255)
        np.testing.assert_array_equal(isolated == 0, ~piece.region & (mask != 255))


@given(MASKS, st.integers(0, 999), st.floats(0, 0.2))
def test_seeds_tell_the_truth_and_every_large_piece_has_one(mask, state, least):
    seeds = masks.from_mask(mask, np.random.default_rng(state), least=least)
    assert seeds.shape == mask.shape and seeds.dtype == np.uint8
    seeded = seeds != 255
    np.testing.assert_array_equal(seeds[seeded], mask[seeded])
    large = np.zeros(mask.shape, bool)
    for piece in masks.pieces(mask, least=least):
        assert seeded[piece.region].any()
        large |= piece.region
    assert not seeded[~large].any()


def test_a_marker_is_one_line_or_one_circle_at_the_centre_of_mass():
    mask = np.zeros((200, 200), np.uint8)
    mask[20:120, 40:140] = 1  # 100 by 100 pixels, centre between 69 and 70 and between 89 and 90
    lines = circles = 0
    for state in range(60):
        seeds = masks.from_mask(mask, np.random.default_rng(state))
        rows, columns = np.nonzero(seeds == 1)
        assert ndimage.label(seeds == 1, np.ones((3, 3)))[1] == 1
        np.testing.assert_allclose([rows.mean(), columns.mean()], [69.5, 89.5], atol=0.51)
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(rows, columns)))
        if spread[1] < 1.05 * spread[0]:
            circles += 1  # of diameter 0.3 × 100
            np.testing.assert_allclose(len(rows), np.pi * 15**2, rtol=0.05)
        else:
            lines += 1  # 25 to 50 pixels long, 3 wide: a box of length l has spread l / √12
            assert 23 < spread[1] * np.sqrt(12) < 54
            assert 0.5 < spread[0] * np.sqrt(12) < 4
    assert min(lines, circles) > 15


def test_where_the_centre_of_mass_lies_outside_the_place_is_random_but_inside():
    down, across = np.mgrid[:80, :80] - 39.5
    ring = (np.hypot(down, across) < 38) & (np.hypot(down, across) > 25)
    mask = ring.astype(np.uint8)
    places = set()
    for state in range(30):
        seeds = masks.from_mask(mask, np.random.default_rng(state), least=0.01)
        assert ring[seeds == 1].all() and (seeds == 1).any()
        places.add(np.round(np.argwhere(seeds == 1).mean(0)).astype(int).tobytes())
    assert len(places) > 20


def test_the_same_state_draws_the_same_seeds_and_another_draws_others():
    mask = (np.mgrid[:50, :60][0] > 20).astype(np.uint8)
    first, again, other = (masks.from_mask(mask, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_mask_that_is_all_void_has_no_pieces_and_no_seeds():
    mask = np.full((6, 5), 255, np.uint8)
    assert masks.pieces(mask) == []
    np.testing.assert_array_equal(masks.from_mask(mask, np.random.default_rng(0)), mask)


class Listed:
    """A source of pictures without seeds, with or without masks."""

    classes = 8

    def __init__(self, truths):
        self._truths = truths

    def __len__(self):
        return len(self._truths)

    def __getitem__(self, index):
        return Picture(
            self.name(index),
            np.full((12, 15, 3), 0.5, np.float32),
            np.full((12, 15), 255, np.uint8),
        )

    def name(self, index):
        return f"picture {index}"

    def mask(self, index):
        return self._truths[index]


def test_a_source_can_be_seeded_from_its_masks_and_an_index_gives_the_same_seeds_twice():
    mask = (np.mgrid[:12, :15][1] > 6).astype(np.uint8)
    source = masks.SeedsFromMasks(Listed([mask, mask]))
    assert len(source) == 2 and source.classes == 8
    first, second, again = source[0], source[1], source[0]
    assert first.name == source.name(0) == "picture 0"
    np.testing.assert_array_equal(first.seeds, again.seeds)
    assert (first.seeds != second.seeds).any()
    seeded = first.seeds != 255
    assert set(first.seeds[seeded]) == {0, 1}
    np.testing.assert_array_equal(first.seeds[seeded], mask[seeded])
    np.testing.assert_array_equal(source.mask(0), mask)


def test_a_picture_without_a_mask_or_with_one_of_another_size_cannot_be_seeded_from_it():
    source = masks.SeedsFromMasks(Listed([None, np.zeros((15, 12), np.uint8)]))
    with pytest.raises(BadInputError, match=r"picture 0: wanted a mask .* got none"):
        source[0]
    with pytest.raises(BadInputError, match=r"picture 1: wanted a mask .* 15×12, got 12×15"):
        source[1]

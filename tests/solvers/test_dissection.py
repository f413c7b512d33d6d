import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from energynets.solvers.dissection import axis, plan

sizes = st.integers(1, 90)
radii = st.integers(1, 3)


def tile_sides(radius):
    return {1: 4, 2: 7}.get(radius, 2 * radius + 3)


@settings(max_examples=60, deadline=None)
@given(sizes, radii)
def test_every_pixel_is_in_one_tile_or_in_the_separators(size, radius):
    cut = axis(size, radius, tile_sides(radius))
    last = cut.pixels.shape[1] - cut.high
    inside = cut.pixels[:, cut.low : last].ravel()
    owned = np.concatenate(
        [
            line[: line.size if own else last]
            for line, own in zip(cut.pixels, cut.owner, strict=True)
        ]
    )
    assert np.array_equal(np.sort(owned[owned >= 0]), np.arange(size))
    assert np.unique(inside[inside >= 0]).size == (inside >= 0).sum()


@settings(max_examples=60, deadline=None)
@given(sizes, radii)
def test_tiles_do_not_touch_each_other(size, radius):
    cut = axis(size, radius, tile_sides(radius))
    tiles = [line[cut.low : line.size - cut.high] for line in cut.pixels]
    tiles = [tile[tile >= 0] for tile in tiles]
    for number, tile in enumerate(tiles):
        for other in tiles[number + 1 :]:
            assert np.abs(tile[:, None] - other).min(initial=size) > radius


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, radii)
def test_merging_joins_equal_pixels_drops_empty_slots_and_leaves_nothing(height, width, radius):
    made = plan((height, width), radius, tile_sides(radius))
    down, across = made.rows.pixels, made.columns.pixels
    ring = made.tile

    def pixels(rows, columns):
        """The numbers of all nodes of a tile's ring, in order; -1 for the ground and for none."""
        there = (rows[:, None] >= 0) & (columns >= 0)
        window = np.where(there, rows[:, None] * width + columns, -1)
        (above, left), (h, w) = ring.low, ring.shape
        middle = window[above : above + h]
        parts = window[:above].T, middle[:, :left], middle[:, left + w :], window[above + h :].T
        return np.concatenate([[-1], *(part.ravel() for part in parts)])

    nodes = np.stack([[pixels(rows, columns) for columns in across] for rows in down])
    eliminated = []
    for merge in made.merges:
        both = np.moveaxis(nodes, merge.along, 0)
        children = [np.moveaxis(both[which::2], 0, merge.along) for which in (0, 1)]
        cuts = [
            child[..., begin : begin + length]
            for child, (begin, length) in zip(children, merge.cut, strict=True)
        ]
        assert np.array_equal(*cuts)
        eliminated.append(cuts[0].ravel())
        nodes = np.full((*children[0].shape[:-1], merge.ring.size), -2)
        for child, keep, (begin, length) in zip(children, merge.keep, merge.cut, strict=True):
            kept = np.zeros(child.shape[-1], bool)
            kept[begin : begin + length] = True
            for start, count, to in keep:
                kept[start : start + count] = True
                part, before = child[..., start : start + count], nodes[..., to : to + count]
                assert np.all((before == -2) | (before == part))
                nodes[..., to : to + count] = part
            assert np.all(child[..., ~kept] == -1)
        assert nodes.min() >= -1
    assert nodes.shape == (1, 1, 1)
    eliminated = np.concatenate([np.zeros(0, int), *eliminated])
    eliminated = eliminated[eliminated >= 0]
    assert np.unique(eliminated).size == eliminated.size

"""How a picture is cut for nested dissection: tiles, the rings around them, and their merging.

Rows and columns are cut alike and independently. n slots are cut into two halves and a separator of
r pixels between them, again and again, until a tile is left. All regions of a level have the same
number of slots, so that they are one batch; where a region has one pixel fewer, its first slot is
empty. The first cut folds: the second half is counted from its end, so that the separator is at the
high end of both, and regions of a level at the picture's edge lie on the low side of both.

A region is known by what is left of it after its pixels are eliminated: conductances between the
nodes of its `Ring`, the pixels within r of it.
"""

from typing import NamedTuple

import numpy as np


class Axis(NamedTuple):
    """One direction of the picture.

    slots: the slots of a region before the first merge, after it, …, and of the whole.
    odd: for each merge, whether the second region's first slot is empty, and left out.
    pixels: for each tile, the pixels at its low ring, its slots and its high ring; -1 for none.
    low, high: pixels of the ring: r, or 0 where there is none.
    owner: for each tile, whether what lies wholly in its high ring is its own, not the next one's.
    """

    slots: tuple[int, ...]
    odd: tuple[bool, ...]
    pixels: np.ndarray
    low: int
    high: int
    owner: np.ndarray


def axis(size: int, radius: int, tile: int) -> Axis:
    """Cut `size` pixels until no more than `tile` are left."""
    slots = [size]
    while slots[-1] > tile:
        slots.append((slots[-1] - radius + 1) // 2)
    if len(slots) == 1:
        return Axis((size,), (), np.arange(size)[None], 0, 0, np.ones(1, bool))
    odd = [(whole - radius) % 2 == 1 for whole in slots[:-1]]

    def cut(start: int, count: int, level: int) -> list[tuple[int, int]]:
        """The (first pixel, number of pixels) of the tiles of a region."""
        if level == len(slots) - 1:
            return [(start, count)]
        half, short = slots[level + 1], slots[level] - count
        first = half - short
        second = count - radius - first
        return cut(start, first, level + 1) + cut(start + first + radius, second, level + 1)

    low = radius if len(slots) > 2 else 0
    pixels, owner = [], []
    for mirrored in (False, True):
        count = size - radius - slots[1] if mirrored else slots[1]
        tiles = cut(0, count, 1)
        for number, (start, real) in enumerate(tiles):
            inside = np.r_[np.full(slots[-1] - real, -1), np.arange(start, start + real)]
            before = np.arange(start - low, start)
            after = np.arange(start + real, start + real + radius)
            last = number == len(tiles) - 1
            if mirrored and last:
                after = after[::-1]  # so that both halves list the fold's separator alike
            line = np.r_[before, inside, after]
            present = (line >= 0) & (line < size)
            line = np.where(present, size - 1 - line if mirrored else line, -1)
            pixels.append(line)
            owner.append(last and not mirrored)
    return Axis(
        tuple(slots[::-1]), tuple(odd[::-1]), np.stack(pixels), low, radius, np.asarray(owner)
    )


class Ring(NamedTuple):
    """The nodes around a region of h×w slots, and where each part begins.

    Order: the ground; the rows above, column by column with the corners; the columns on the left,
    row by row; those on the right; the rows below like those above. low and high are r, or 0 where
    the picture ends; each for rows and columns.
    """

    shape: tuple[int, int]
    low: tuple[int, int]
    high: tuple[int, int]

    @property
    def lengths(self) -> tuple[int, int, int, int, int]:
        (h, w), (above, left), (below, right) = self
        across = left + w + right
        return 1, above * across, left * h, right * h, below * across

    @property
    def begins(self) -> tuple[int, ...]:
        return tuple(np.cumsum((0, *self.lengths[:-1])).tolist())

    @property
    def size(self) -> int:
        return sum(self.lengths)


# From the first node of a child, so many nodes, to the first node of the parent.
Segments = tuple[tuple[int, int, int], ...]


class Merge(NamedTuple):
    """How two neighbouring regions become one. Index 0 is the left or upper child, 1 the other.

    along: 0 if they lie above each other, 1 if beside each other.
    cut: where the separator begins in each child's ring, and how long it is.
    keep: where the other nodes of each child's ring go in the parent's ring.
    child, ring: that of each child, and that of the parent.
    """

    along: int
    cut: tuple[tuple[int, int], tuple[int, int]]
    keep: tuple[Segments, Segments]
    child: Ring
    ring: Ring


def merge(ring: Ring, along: int, *, odd: bool, edge: bool, fold: bool) -> Merge:
    """The merge of two regions with equal rings.

    Args:
        ring: of each of the two.
        along: 0 if they lie above each other, 1 if beside each other.
        odd: leave out the second one's first slot, which is empty.
        edge: what they make is at the low edge of the picture, and needs no ring there.
        fold: the second one is counted from its end: both have the separator at their high end and
            nothing at the low one.
    """
    radius = ring.high[along]
    odd = odd and not fold
    corner, skip, outside = radius * radius, radius * odd, 0 if fold or not edge else radius
    shape, low, high = list(ring.shape), list(ring.low), list(ring.high)
    shape[along] = 2 * shape[along] + radius - odd
    if fold or edge:
        low[along] = 0
    if fold:
        high[along] = 0
    parent = Ring((shape[0], shape[1]), (low[0], low[1]), (high[0], high[1]))
    _, above, left, right, below = ring.begins
    _, to_above, to_left, to_right, to_below = parent.begins
    _, long_above, long_left, long_right, long_below = ring.lengths
    first, second = [(0, 1, 0)], [(0, 1, 0)]

    def strips(begin: int, length: int, to: int) -> None:
        """Above or below, merging sideways: the first's, the corner that both have, the rest."""
        if not length:
            return
        cropped = outside * radius
        first.append((begin + cropped, length - cropped, to))
        ends = to + length - cropped
        if fold:
            second.append((begin + length - corner, corner, ends - corner))
            second.append((begin, length - corner, ends))
        else:
            second.append((begin, corner, ends - corner))
            second.append((begin + corner + skip, length - corner - skip, ends))

    def sides(begin: int, length: int, to: int, at: int) -> None:
        """Left or right, merging downwards: the first's, the corner that both have, the rest."""
        if not length:
            return
        first.append((begin, length, to))
        first.append((below + at, corner, to + length))
        second.append(((below if fold else above) + at, corner, to + length))
        second.append((begin + skip, length - skip, to + length + corner))

    if along == 1:
        strips(above, long_above, to_above)
        strips(below, long_below, to_below)
        if not (fold or edge):
            first.append((left, long_left, to_left))
        if not fold:
            second.append((right, long_right, to_right))
        cut = (right, long_right), (right if fold else left, long_right)
    else:
        west, inner = radius * ring.low[1], radius * ring.shape[1]
        sides(left, long_left, to_left, 0)
        sides(right, long_right, to_right, west + inner)
        if not (fold or edge):
            first.append((above, long_above, to_above))
        if not fold:
            second.append((below, long_below, to_below))
        cut = (below + west, inner), ((below if fold else above) + west, inner)
    return Merge(along, cut, (_tidy(first), _tidy(second)), ring, parent)


def _tidy(segments: list[tuple[int, int, int]]) -> Segments:
    """In the parent's order, without empty ones, and adjacent ones joined."""
    joined: list[tuple[int, int, int]] = []
    for begin, length, to in sorted((s for s in segments if s[1]), key=lambda s: s[2]):
        if joined and joined[-1][0] + joined[-1][1] == begin and sum(joined[-1][1:]) == to:
            begin, before, to = joined.pop()
            length += before
        joined.append((begin, length, to))
    return tuple(joined)


class Plan(NamedTuple):
    """Tiles and merges of a picture of rows.slots[-1]×columns.slots[-1] pixels."""

    radius: int
    rows: Axis
    columns: Axis
    merges: tuple[Merge, ...]

    @property
    def tile(self) -> Ring:
        rows, columns = self.rows, self.columns
        return Ring(
            (rows.slots[0], columns.slots[0]), (rows.low, columns.low), (rows.high, columns.high)
        )


def plan(shape: tuple[int, int], radius: int, tile: int) -> Plan:
    """Tiles of at most `tile` pixels a side; the shorter sides of the regions are merged first."""
    axes = [axis(size, radius, tile) for size in shape]
    start = Plan(radius, axes[0], axes[1], ())
    ring, done, merges = start.tile, [0, 0], []
    while any(left := [len(which.odd) - count for which, count in zip(axes, done, strict=True)]):
        along = 0 if left[0] and (not left[1] or ring.shape[0] < ring.shape[1]) else 1
        odd = axes[along].odd[done[along]]
        merges.append(merge(ring, along, odd=odd, edge=left[along] == 2, fold=left[along] == 1))
        done[along] += 1
        ring = merges[-1].ring
    return start._replace(merges=tuple(merges))

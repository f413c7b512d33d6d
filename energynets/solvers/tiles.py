"""The first step of nested dissection: tiles of a few pixels, eliminated row by row.

Thousands of tiles are eliminated together, elementwise, with the tiles along the last axis: their
blocks are too small for matrix products. They go in chunks that fit into the cache.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from energynets.solvers.dissection import Axis, Plan
from energynets.solvers.star_mesh import LANES
from energynets.solvers.stencil import Stencil

# Bytes in float32 of what the tiles of a chunk leave: half of a core's cache.
_CHUNK = 2**20


class Row(NamedTuple):
    """One row of every tile, eliminated: t tiles of w slots, f nodes that the row touches.

    pivot: inverse of the row's block. reach: its product with the conductances to the f nodes:
    the next r rows of the tile, the ground, and the first nodes of the ring.
    """

    pivot: Float[Array, "w w t"]
    reach: Float[Array, "w f t"]


class Tiles(NamedTuple):
    """The numbers of a tile's nodes, and where tiles lie in chunks and lanes. All of it static.

    inside: h×w numbers of the pixels. ring: of the nodes around, in the order in which the
        elimination meets them. met: for each row, how many of (ground, *ring) it and those before
        it have met. canonical: the place in (ground, *ring) of each node in the order of `Ring`.
    pair: for each two nodes, the number of their pair, or the number of all pairs if they are too
        far apart. row_pairs, column_pairs: the slots of each pair's two nodes.
    merges: how many of the plan's merges are made within a chunk.
    rows, columns: for each row and column of tiles, its place among the lanes of its chunk, which
        add up; in the first merge, the first half of the lanes meets the second half, and so on.
    chunk: rows of tiles in a chunk. lanes: tiles in a chunk.
    """

    window: tuple[int, int]
    inside: np.ndarray
    ring: np.ndarray
    met: tuple[int, ...]
    canonical: np.ndarray
    pair: np.ndarray
    row_pairs: np.ndarray
    column_pairs: np.ndarray
    merges: int
    rows: np.ndarray
    columns: np.ndarray
    chunk: int
    lanes: int


def tiles(plan: Plan, merges: int) -> Tiles:
    """Of a plan whose first `merges` merges, at most, are made within a chunk."""
    (h, w), (above, left), (below, right) = plan.tile
    window = tall, wide = above + h + below, left + w + right
    number = np.arange(tall * wide).reshape(window)
    inside = number[above : above + h, left : left + w]
    top, bottom = number[:above].T.ravel(), number[above + h :].T.ravel()
    west, east = number[above : above + h, :left], number[above : above + h, left + w :]
    sides = np.concatenate([west, east], 1)
    ring = np.concatenate([top, sides.ravel(), bottom])
    met = tuple(
        1
        + top.size
        + min(q + plan.radius + 1, h) * sides.shape[1]
        + (bottom.size if q + plan.radius >= h else 0)
        for q in range(h)
    )
    place = np.zeros(tall * wide, int)
    place[ring] = 1 + np.arange(ring.size)
    order = np.concatenate([top, west.ravel(), east.ravel(), bottom])
    canonical = np.concatenate([[0], place[order]])

    close = _near(plan.rows, plan.radius)[:, None, :, None]
    close = close & _near(plan.columns, plan.radius)[None, :, None, :]
    first, second = np.nonzero(np.triu(close.reshape(number.size, number.size), 1))
    pair = np.full((number.size,) * 2, first.size)
    pair[first, second] = pair[second, first] = np.arange(first.size)
    slots = np.stack([np.unravel_index(node, window) for node in (first, second)], -1)

    merges = min(merges, len(plan.merges))
    directions = [merge.along for merge in plan.merges[:merges]]
    high, broad = plan.rows.pixels.shape[0], plan.columns.pixels.shape[0]
    # All numbers of tiles are powers of two.
    together = 2 ** int(math.log2(max(_CHUNK // (4 * plan.tile.size**2), 16)))
    chunk = min(high, max(together // broad, 2 ** directions.count(0)))
    rows, columns, stride = np.arange(high) % chunk, np.arange(broad), chunk * broad
    lanes = [np.zeros(high, int), np.zeros(broad, int)]
    rest = [rows, columns]
    for along in directions:
        stride //= 2
        lanes[along] += rest[along] % 2 * stride
        rest[along] = rest[along] // 2
    rows, columns = lanes[0] + rest[0] * (broad >> directions.count(1)), lanes[1] + rest[1]
    # int32 with and without x64: JAX remembers an index array in the type that it first had.
    inside, ring, canonical, pair, *slots, rows, columns = (
        part.astype(np.int32) for part in (inside, ring, canonical, pair, *slots, rows, columns)
    )
    return Tiles(
        window, inside, ring, met, canonical, pair, *slots, merges, rows, columns, chunk,
        chunk * broad,
    )  # fmt: skip


def _near(axis: Axis, radius: int) -> np.ndarray:
    """Which two slots of a tile's window can be adjacent in some tile."""
    size = axis.pixels.shape[1]
    near = np.zeros((size, size), bool)
    for line in axis.pixels:
        there = (line[:, None] >= 0) & (line >= 0)
        near |= there & (np.abs(line[:, None] - line) <= radius)
    return near


def _owned(axis: Axis, slots: np.ndarray) -> np.ndarray:
    """Whether each tile is the one that holds what lies at these slots; the first slot counts."""
    return (slots < axis.pixels.shape[1] - axis.high)[:, None] | axis.owner


class Known(NamedTuple):
    """What a chunk of tiles is made from; a node is at one pixel, and one tile owns that.

    edges: of each pair of nodes, and a last row of 0. ground: of each node.
    """

    edges: Float[Array, "p t"]
    ground: Float[Array, "n t"]


def gather(stencil: Stencil, plan: Plan, tiles: Tiles, chunk: Array) -> Known:
    height, width = stencil.ground.shape
    radius = plan.radius

    def ends(axis: Axis, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of pairs in tiles: the first's pixel, the second's, whether the tile owns the pair."""
        start, stop = (axis.pixels[:, slots[:, end]].T for end in (0, 1))
        here = _owned(axis, slots.min(1)) & (start >= 0) & (stop >= 0)
        return start, stop, here & (np.abs(stop - start) <= radius)

    row = [_rows(tiles, table, chunk) for table in ends(plan.rows, tiles.row_pairs)]
    column = [_columns(tiles, table) for table in ends(plan.columns, tiles.column_pairs)]
    # Positive if the first node is the one at which `offsets` lists the edge.
    away = (row[1] - row[0]) * (2 * radius + 1) + column[1] - column[0]
    i, j = (jnp.where(away > 0, start, stop) for start, stop, _ in (row, column))
    index = ((jnp.abs(away) - 1) * height + i) * width + j
    here = row[2] * column[2] > 0
    edges = jnp.where(here, stencil.edges.reshape(-1)[jnp.where(here, index, 0)], 0)
    index, here, empty = nodes(plan, tiles, chunk)
    ground = jnp.where(here, stencil.ground.reshape(-1)[index], 0)
    # Slots without a pixel hold nothing: a conductor to the ground lets them be eliminated.
    return Known(jnp.pad(edges, ((0, 1), (0, 0))), jnp.where(empty, 1, ground))


def nodes(plan: Plan, tiles: Tiles, chunk: Array) -> tuple[Array, Array, Array]:
    """Of every node in tiles: its pixel, whether the tile owns it, whether there is no pixel."""
    down, across = np.unravel_index(np.arange(math.prod(tiles.window)), tiles.window)
    i = _rows(tiles, plan.rows.pixels.T[down], chunk)
    j = _columns(tiles, plan.columns.pixels.T[across])
    here = _rows(tiles, _owned(plan.rows, down), chunk)
    here = here * _columns(tiles, _owned(plan.columns, across)) > 0
    empty = (i < 0) | (j < 0)
    width = int(plan.columns.pixels.max()) + 1
    return jnp.where(empty, 0, i * width + j), here & ~empty, empty


def holding(pixels: Bool[Array, "h w"], plan: Plan, *, owned: bool) -> Bool[Array, "i j"]:
    """For each row and column of tiles, whether the tile has one of these pixels at its nodes.

    `owned`: count only those that the tile owns.
    """
    for axis in (plan.rows, plan.columns):
        here = axis.pixels >= 0
        if owned:
            here &= _owned(axis, np.arange(here.shape[1])).T
        lines = pixels[jnp.asarray(np.where(here, axis.pixels, 0), jnp.int32)]
        pixels = (lines & jnp.asarray(here)[..., None]).any(1).T
    return pixels


def _rows(tiles: Tiles, table: np.ndarray, chunk: Array) -> Array:
    """A table with one column for each row of tiles, in the lanes of a chunk."""
    own = np.argsort(_lanes(tiles), kind="stable") // tiles.columns.size
    parts = table.reshape(table.shape[0], table.shape[1] // tiles.chunk, tiles.chunk)
    part = jax.lax.dynamic_index_in_dim(jnp.asarray(parts, jnp.int32), chunk, 1, keepdims=False)
    return part[:, own]


def _columns(tiles: Tiles, table: np.ndarray) -> Array:
    own = np.argsort(_lanes(tiles), kind="stable") % tiles.columns.size
    return jnp.asarray(table[:, own], jnp.int32)


def _lanes(tiles: Tiles) -> np.ndarray:
    return (tiles.rows[: tiles.chunk, None] + tiles.columns).ravel()


def eliminate(known: Known, tiles: Tiles, radius: int) -> tuple[tuple[Row, ...], Array]:
    """Row by row: what to keep of each, and the conductances left between the ground and ring."""
    edges, ground = known
    height, width = tiles.inside.shape

    def between(first: np.ndarray, second: np.ndarray) -> Array:
        return edges[tiles.pair[first[:, None], second]]

    ahead = [range(q + 1, min(q + radius + 1, height)) for q in range(height)]
    inner = {
        (q, p): between(tiles.inside[q], tiles.inside[p])
        for q in range(height)
        for p in (q, *ahead[q])
    }
    outer = [
        jnp.concatenate([ground[row][:, None], between(row, tiles.ring)], 1) for row in tiles.inside
    ]
    left = jnp.pad(between(tiles.ring, tiles.ring), ((1, 0), (1, 0), (0, 0)))
    sink = jnp.pad(ground[tiles.ring], ((1, 0), (0, 0)))
    left = left.at[0].set(sink).at[:, 0].set(sink)

    rows = []
    for q in range(height):
        met = tiles.met[q]
        touched = jnp.concatenate([*(inner[q, p] for p in ahead[q]), outer[q][:, :met]], 1)
        pivot = LANES.inverse(inner[q, q], LANES.total(touched))
        reach = LANES.product(pivot, touched)
        rows.append(Row(pivot, reach))
        last = reach[:, len(ahead[q]) * width :]
        for p in ahead[q]:
            for b, o in enumerate(ahead[q]):
                if o >= p:
                    there = reach[:, b * width : (b + 1) * width]
                    inner[p, o] = inner[p, o] + LANES.product(inner[q, p], there)
            outer[p] = _add_at_start(outer[p], LANES.product(inner[q, p], last))
        left = _add_at_start(left, LANES.product(outer[q][:, :met], last))
    return tuple(rows), take(take(left, tiles.canonical, 0), tiles.canonical, 1)


def take(array: Array, index: np.ndarray, axis: int) -> Array:
    """`jnp.take`, one run of consecutive numbers after the other: much faster than a gather."""
    runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
    slices = [jax.lax.slice_in_dim(array, int(run[0]), int(run[-1]) + 1, axis=axis) for run in runs]
    return jax.lax.optimization_barrier(jnp.concatenate(slices, axis))


def _add_at_start(array: Array, part: Array) -> Array:
    begin = array[: part.shape[0], : part.shape[1]]
    return jax.lax.dynamic_update_slice(array, begin + part, (0,) * array.ndim)


def forward(rows: tuple[Row, ...], tiles: Tiles, rhs: Float[Array, "n k t"], radius: int):
    """Eliminate the tiles from a right-hand side at their nodes: totals, and what rings receive."""
    width = tiles.inside.shape[1]
    inside = [rhs[row] for row in tiles.inside]
    ring = jnp.concatenate([jnp.zeros_like(rhs[:1]), rhs[tiles.ring]])
    for q, row in enumerate(rows):
        flow = LANES.product(row.reach, inside[q])
        ahead = range(q + 1, min(q + radius + 1, len(rows)))
        for a, p in enumerate(ahead):
            inside[p] = inside[p] + flow[a * width : (a + 1) * width]
        ring = _add_at_start(ring, flow[len(ahead) * width :])
    return jnp.stack(inside), take(ring, tiles.canonical, 0)


def backward(
    rows: tuple[Row, ...], tiles: Tiles, totals: Float[Array, "h w k t"], ring: Array
) -> Float[Array, "n k t"]:
    """The solution at all nodes, in the order of their numbers."""
    height, width = tiles.inside.shape
    ring = take(ring, np.argsort(tiles.canonical), 0)
    inside: list = [None] * height
    for q in reversed(range(height)):
        pivot, reach = rows[q]
        ahead = inside[q + 1 : q + 1 + (reach.shape[1] - tiles.met[q]) // width]
        beside = jnp.concatenate([*ahead, ring[: tiles.met[q]]])
        inside[q] = LANES.product(pivot, totals[q]) + LANES.apply(reach, beside)
    order = np.argsort(np.concatenate([tiles.inside.ravel(), tiles.ring]))
    return take(jnp.concatenate([*inside, ring[1:]]), order, 0)


def where(plan: Plan, tiles: Tiles) -> tuple[Array, Array, Array]:
    """Of each pixel: the chunk, node and lane that hold it."""
    (tile_i, slot_i), (tile_j, slot_j) = _owner(plan.rows), _owner(plan.columns)
    lane = jnp.asarray(tiles.rows[tile_i])[:, None] + jnp.asarray(tiles.columns[tile_j])
    node = jnp.asarray(slot_i * tiles.window[1])[:, None] + jnp.asarray(slot_j)
    return jnp.asarray(tile_i // tiles.chunk)[:, None], node, lane


def _owner(axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of an axis, the tile that owns it and its slot there."""
    slots = np.arange(axis.pixels.shape[1])
    own = _owned(axis, slots).T & (axis.pixels >= 0)
    tile, slot = np.nonzero(own)
    order = np.argsort(axis.pixels[tile, slot])
    return tile[order], slot[order]

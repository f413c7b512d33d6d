"""A direct solver on the grid: nested dissection with dense blocks in batches, in plain JAX.

    made = nested_dissection.factor(matrix)
    value = nested_dissection.substitute(made, rhs)

Where a matrix changes at a few pixels, as by a scribble more, a factor that was kept for it is
changed in a fraction of the time that a new one takes:

    made = nested_dissection.keep(matrix)
    made = nested_dissection.update(made, changed)
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from energynets.solvers import dissection, merging
from energynets.solvers import tiles as tiling
from energynets.solvers.dissection import Merge, Plan
from energynets.solvers.merging import Separators
from energynets.solvers.star_mesh import BLOCKS, LANES
from energynets.solvers.stencil import Stencil, pairs
from energynets.solvers.tiles import Tiles

# Pictures of no more pixels are one block.
_WHOLE = 256
# For each radius, the sides of the tiles at most, and how many merges are made elementwise.
_TILE = {1: 4, 2: 7}
_SMALL = {1: 4}
# Conductances within so many roundings are the same, computed in another program, say.
_SAME = 64
# Numbers of all regions that are merged together from the start.
_CACHED = 2**20


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["rows", "small", "large", "whole", "of", "left"],
    meta_fields=["shape", "radius"],
)
@dataclasses.dataclass(frozen=True)
class Factor:
    """What elimination leaves of a stencil of H×W pixels.

    rows: of the tiles, and small: of their first merges; chunks first, tiles last.
    large: of the other merges; regions first.
    whole: the inverse of the matrix, if the picture is so small that it is one block.
    of: the stencil itself.
    left: for `update`, the conductances within the rings of all regions, before each of the other
        merges and at last; none if the factor was not kept.
    """

    rows: tuple[tiling.Row, ...]
    small: tuple[Separators, ...]
    large: tuple[Separators, ...]
    whole: Float[Array, "n n"] | None
    of: Stencil
    left: tuple[Float[Array, "i j n n"], ...]
    shape: tuple[int, int]
    radius: int

    @property
    def dtype(self):
        return jax.tree.leaves(self)[0].dtype


def factor(stencil: Stencil, *, left: bool = False) -> Factor:
    """Eliminate all pixels. Work of order N^1.5 r³, memory N log N r², for N = H·W pixels.

    `left`: whether the factor holds what `update` needs, two to three times as many numbers.
    """
    height, width = stencil.ground.shape
    if height * width <= _WHOLE:
        with jax.default_matmul_precision("highest"):
            whole = BLOCKS.inverse(_dense(stencil), stencil.ground.ravel())
        return Factor((), (), (), whole, stencil, (), (height, width), stencil.radius)
    plan, tiles = _plan((height, width), stencil.radius)
    with jax.default_matmul_precision("highest"):
        chunks = jnp.arange(plan.rows.pixels.shape[0] // tiles.chunk)
        begin = functools.partial(_begin, stencil, plan, tiles)
        rows, small, ring = jax.lax.map(begin, chunks)
        ring = ring.reshape(*_grid(plan, tiles), *ring.shape[-2:])
        large, kept = [], [ring]
        for merges in _stages(plan.merges[tiles.merges :], ring.size):
            together = 2 ** sum(merge.along == 0 for merge in merges)
            parts = ring.reshape(-1, together, *ring.shape[1:])
            done = jax.lax.map(functools.partial(_join, merges=merges, every=left), parts)
            separators, rings = jax.tree.map(lambda of: of.reshape(-1, *of.shape[2:]), done)
            ring = rings[-1]
            large += separators
            kept += rings
    rings = tuple(kept) if left else ()
    return Factor(rows, small, tuple(large), None, stencil, rings, (height, width), stencil.radius)


@jax.jit
def keep(stencil: Stencil) -> Factor:
    """A factor for `update`, in float32 as `quadratic.minimise` makes its own."""
    return factor(jax.tree.map(lambda part: part.astype(jnp.float32), stencil), left=True)


def update(old: Factor, stencil: Stencil) -> Factor:
    """The factor of another stencil of the same size, to some roundings as `factor` would make it.

    Only tiles in which the two stencils differ are eliminated anew, and the regions that hold them:
    for a stroke at 512² a fraction of a new factor's work, for changes all over the picture more
    than that. Pictures of up to 256 pixels are one block, which is always made anew.

    The old factor is used up: its memory becomes that of the new one. Within a `jax.jit` of your
    own it is copied instead, unless that donates it. Derivatives do not pass through in reverse;
    `quadratic.minimise` does not ask for any.

    Raises:
        ValueError: if the factor was used up before or was not kept, or if the stencil has another
            shape or radius.
    """
    leaves = jax.tree.leaves(old)
    if any(isinstance(leaf, jax.Array) and _used_up(leaf) for leaf in leaves):
        raise ValueError("this factor was used up by an earlier update: give what that returned")
    check(old, stencil)
    if old.whole is None and not old.left:
        raise ValueError("update needs a factor made by keep, got one without what is left")
    return _update(old, stencil)


def check(factor: Factor, stencil: Stencil) -> None:
    """Refuse, as a ValueError, the factor of a stencil of another shape or radius."""
    if (stencil.ground.shape, stencil.radius) != (factor.shape, factor.radius):
        raise ValueError(
            f"the factor is of {factor.shape} pixels and radius {factor.radius}, "
            f"the stencil of {stencil.ground.shape} and {stencil.radius}"
        )


def _used_up(array: jax.Array) -> bool:
    return not isinstance(array, Tracer) and array.is_deleted()


@functools.partial(jax.jit, donate_argnums=0)
def _update(old: Factor, stencil: Stencil) -> Factor:
    new = jax.tree.map(lambda part: part.astype(old.dtype), stencil)
    if old.whole is not None:
        return factor(new)
    plan, tiles = _plan(old.shape, old.radius)

    def tile(chunk: Array, state: tuple) -> tuple:
        return _put(state, _begin(new, plan, tiles, chunk), (chunk,))

    with jax.default_matmul_precision("highest"):
        differs = differ(old.of, new)
        changed = _holding(differs, plan)
        ring = old.left[0]
        chunks = changed.reshape(-1, tiles.chunk * changed.shape[1])
        parts = ring.reshape(chunks.shape[0], -1, *ring.shape[2:])
        rows, small, parts = _for_each(chunks.any(1), tile, (old.rows, old.small, parts))
        for merge in plan.merges[: tiles.merges]:
            changed = jnp.logical_or(*merging.children(changed, merge.along))
        large, left = [], [parts.reshape(ring.shape)]
        for merge, *state in zip(plan.merges[tiles.merges :], old.large, old.left[1:], strict=True):
            changed = jnp.logical_or(*merging.children(changed, merge.along))
            join = functools.partial(_join_one, left[-1], merge, changed.shape[1])
            separators, ring = _for_each(changed.ravel(), join, tuple(state))
            large.append(separators)
            left.append(ring)
    # Where nothing was made anew, what it was made from: many small changes add up to a large one.
    of = jax.tree.map(jnp.where, differs, new, old.of)
    return dataclasses.replace(
        old, rows=rows, small=small, large=tuple(large), of=of, left=tuple(left)
    )


def substitute(factor: Factor, rhs: Float[Array, "h w *k"]) -> Float[Array, "h w *k"]:
    """The solution for one right-hand side, or for K along the last axis; in the factor's type.

    Raises:
        ValueError: if the right-hand side is not of the factor's height and width.
    """
    if rhs.shape[:2] != factor.shape:
        raise ValueError(f"the factor is of {factor.shape} pixels, the right side {rhs.shape}")
    given = rhs.astype(factor.dtype).reshape(factor.shape[0] * factor.shape[1], -1)
    if factor.whole is not None:
        return jnp.matmul(factor.whole, given, precision="highest").reshape(rhs.shape)
    plan, tiles = _plan(factor.shape, factor.radius)
    large = list(zip(factor.large, plan.merges[tiles.merges :], strict=True))

    def begin(inputs):
        chunk, rows, small = inputs
        index, here, _ = tiling.nodes(plan, tiles, chunk)
        values = jnp.where(here[:, None], jnp.moveaxis(given[index], -1, 1), 0)
        inside, ring = tiling.forward(rows, tiles, values, plan.radius)
        totals = []
        for level, merge in zip(small, plan.merges[: tiles.merges], strict=True):
            total, ring = merging.forward(level, *merging.halves(ring), merge, LANES)
            totals.append(total)
        return inside, tuple(totals), jnp.moveaxis(ring, -1, 0)

    def end(inputs):
        rows, small, inside, totals, ring = inputs
        ring = jnp.moveaxis(ring, 0, -1)
        merges = plan.merges[: tiles.merges]
        for level, merge, total in zip(small[::-1], merges[::-1], totals[::-1], strict=True):
            pair = merging.backward(level, total, ring, merge, LANES)
            ring = jnp.concatenate(pair, -1)
        return tiling.backward(rows, tiles, inside, ring)

    with jax.default_matmul_precision("highest"):
        chunks = jnp.arange(plan.rows.pixels.shape[0] // tiles.chunk)
        inside, totals, ring = jax.lax.map(begin, (chunks, factor.rows, factor.small))
        lanes = ring.shape
        ring = ring.reshape(*_grid(plan, tiles), *ring.shape[-2:])
        kept = []
        for level, merge in large:
            total, ring = merging.forward(
                level, *merging.children(ring, merge.along), merge, BLOCKS
            )
            kept.append(total)
        ring = jnp.zeros_like(ring)
        for (level, merge), total in zip(large[::-1], kept[::-1], strict=True):
            ring = merging.together(
                *merging.backward(level, total, ring, merge, BLOCKS), merge.along
            )
        ring = ring.reshape(lanes)
        value = jax.lax.map(end, (factor.rows, factor.small, inside, totals, ring))
    chunk, node, lane = tiling.where(plan, tiles)
    return value[chunk, node, :, lane].reshape(rhs.shape)


def differ(first: Stencil, second: Stencil) -> Stencil:
    """Which conductances differ by more than 64 roundings, or are not numbers."""

    def by_more(a: Array, b: Array) -> Array:
        return ~(jnp.abs(a - b) <= _SAME * jnp.finfo(a.dtype).eps * jnp.abs(a))

    return jax.tree.map(by_more, first, second)


def numbers(shape: tuple[int, int], radius: int) -> int:
    """How many numbers a factor holds; some 70 a pixel at radius 1 and 512², growing with log N."""
    if math.prod(shape) <= _WHOLE:
        return math.prod(shape) ** 2
    plan, tiles = _plan(shape, radius)
    count = plan.rows.pixels.shape[0] * plan.columns.pixels.shape[0]
    height, width = plan.tile.shape
    total = 0
    for q, met in enumerate(tiles.met):
        total += count * width * (width + min(radius, height - 1 - q) * width + met)
    for merge in plan.merges:
        count //= 2
        total += count * merge.cut[0][1] * (merge.cut[0][1] + merge.ring.size)
    return total


@functools.lru_cache
def _plan(shape: tuple[int, int], radius: int) -> tuple[Plan, Tiles]:
    plan = dissection.plan(shape, radius, _TILE.get(radius, 2 * radius + 3))
    return plan, tiling.tiles(plan, _SMALL.get(radius, 0))


def _dense(stencil: Stencil) -> Array:
    """The conductances between all pixels."""
    shape = stencil.ground.shape
    number = np.arange(math.prod(shape)).reshape(shape)
    edges = jnp.zeros((number.size, number.size), stencil.edges.dtype)
    for plane, (first, second) in pairs(stencil):
        edges = edges.at[number[first].ravel(), number[second].ravel()].set(plane[first].ravel())
    return edges + edges.T


def _begin(stencil: Stencil, plan: Plan, tiles: Tiles, chunk: Array):
    """Eliminate a chunk of tiles and its first separators: rows, separators, and what is left."""
    known = tiling.gather(stencil, plan, tiles, chunk)
    rows, left = tiling.eliminate(known, tiles, plan.radius)
    small = []
    for merge in plan.merges[: tiles.merges]:
        separators, left = merging.eliminate(*merging.halves(left), merge, LANES)
        small.append(separators)
    return rows, tuple(small), jnp.moveaxis(jax.lax.optimization_barrier(left), -1, 0)


def _holding(differs: Stencil, plan: Plan) -> Array:
    """Which tiles hold any of these conductances; they lie in rows and columns."""
    ground, edges = differs
    ends = jnp.zeros_like(ground)
    for plane, (first, second) in pairs(Stencil(ground, edges)):
        ends = ends.at[first].max(plane[first]).at[second].max(plane[first])
    return tiling.holding(ground, plan, owned=True) | tiling.holding(ends, plan, owned=False)


def _for_each(flags: Array, step: Callable, state):
    """step(number, state) for the number of each flag that is set."""
    numbers = jnp.nonzero(flags, size=flags.size)[0]
    return jax.lax.fori_loop(0, flags.sum(), lambda n, state: step(numbers[n], state), state)


def _grid(plan: Plan, tiles: Tiles) -> tuple[int, int]:
    """Regions below and beside each other after the small merges."""
    done = [merge.along for merge in plan.merges[: tiles.merges]]
    return (
        plan.rows.pixels.shape[0] >> done.count(0),
        plan.columns.pixels.shape[0] >> done.count(1),
    )


def _stages(merges: tuple[Merge, ...], size: int) -> list[tuple[Merge, ...]]:
    """Merges that make one of two rows of regions, if all of them hold many numbers; the others.

    The first ones move more numbers than they compute, and two rows by themselves fit into a cache.
    """
    down = [number for number, merge in enumerate(merges) if merge.along == 0]
    end = down[1] if size > _CACHED and len(down) > 1 else 0
    return [stage for stage in (merges[:end], merges[end:]) if stage]


def _join(
    left: Array, merges: tuple[Merge, ...], every: bool
) -> tuple[list[Separators], list[Array]]:
    """Eliminate the separators between regions, in rows and columns, merge after merge.

    What is left is returned as well: of every merge if `every`, else of the last one alone.
    """
    made, after = [], []
    for merge in merges:
        separators, left = merging.eliminate(*merging.children(left, merge.along), merge, BLOCKS)
        made.append(separators)
        after.append(left)
    return made, after if every else after[-1:]


def _join_one(
    left: Array, merge: Merge, columns: int, number: Array, state: tuple[Separators, Array]
) -> tuple[Separators, Array]:
    """Join the children of one region anew; regions are numbered in reading order."""
    row, column = jnp.divmod(number, columns)

    def child(which: int) -> Array:
        place = (2 * row + which, column) if merge.along == 0 else (row, 2 * column + which)
        return jax.lax.dynamic_slice(left, (*place, 0, 0), (1, 1, *left.shape[2:]))

    return _put(state, merging.eliminate(child(0), child(1), merge, BLOCKS), (row, column))


def _put(whole, part, at: tuple[Array, ...]):
    """The arrays of `whole` with those of `part` at this place of their first axes."""

    def put(array: Array, new: Array) -> Array:
        begin = (*at, *(0,) * (array.ndim - len(at)))
        return jax.lax.dynamic_update_slice(
            array, new.reshape((1,) * len(at) + array.shape[len(at) :]), begin
        )

    return jax.tree.map(put, whole, part)

"""Coarse unknowns that are local multiples of given fields: a hierarchy for multigrid.

A quadratic energy of a picture hardly punishes some fields: the matting energy those that are
affine in the colours, wherever one looks. A tile's unknowns are the factors of such fields inside
it, so that whatever is cheap everywhere is cheap, and exactly representable, on the coarser level.
Tiles are 4×4 pixels and then 2×2 tiles; the matrix of a level is PᵀAP, found by applying A.

Source: smoothed aggregation's candidates (Vaněk, Mandel, Brezina, "Algebraic multigrid by smoothed
aggregation", 1996), without the smoothing, on squares instead of aggregates.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.solvers.stencil import Stencil, offsets

# A field that the others leave less than this share of, within a tile, is left out there.
_DISTINCT = 1e-3
_BESIDE = offsets(1)


class Blocks(NamedTuple):
    """A matrix on planes of M unknowns a place: A u = middle u + beside u(+o) + besideᵀ u(-o).

    beside[n, a, b] at a place is the coupling of its unknown a with b at offset n of `offsets(1)`.
    """

    middle: Float[Array, "m m h w"]
    beside: Float[Array, "n m m h w"]


def apply_stencil(stencil: Stencil, u: Float[Array, "k 1 h w"]) -> Float[Array, "k 1 h w"]:
    """A u in differences of neighbours, planes first."""
    total = stencil.ground * u
    for edges, away in zip(stencil.edges, offsets(stencil.radius), strict=True):
        flow = edges * (u - shifted(u, *away))
        total = total + flow - shifted(flow, -away[0], -away[1])
    return total


def apply_blocks(blocks: Blocks, u: Float[Array, "k m h w"]) -> Float[Array, "k m h w"]:
    total = _product(blocks.middle, u)
    for beside, away in zip(blocks.beside, _BESIDE, strict=True):
        total = total + _product(beside, shifted(u, *away))
        back = _product(beside.swapaxes(0, 1), u)
        total = total + shifted(back, -away[0], -away[1])
    return total


def shifted(u: Float[Array, "*b h w"], down: int, right: int) -> Float[Array, "*b h w"]:
    """u at (i + down, j + right), 0 outside."""
    height, width = u.shape[-2:]
    if abs(down) >= height or abs(right) >= width:
        return jnp.zeros_like(u)
    u = u[
        ...,
        max(down, 0) : height + min(down, 0),
        max(right, 0) : width + min(right, 0),
    ]
    ends = [(0, 0)] * (u.ndim - 2)
    return jnp.pad(u, [*ends, (max(-down, 0), max(down, 0)), (max(-right, 0), max(right, 0))])


def tile_sums(u: Float[Array, "*b h w"], side: int) -> Float[Array, "*b p q"]:
    """Sums over tiles of side×side places, the last ones filled up with 0."""
    height, width = u.shape[-2:]
    rows, columns = -(-height // side), -(-width // side)
    ends = [(0, 0)] * (u.ndim - 2)
    u = jnp.pad(u, [*ends, (0, rows * side - height), (0, columns * side - width)])
    return u.reshape(*u.shape[:-2], rows, side, columns, side).sum((-3, -1))


def spread(u: Float[Array, "*b p q"], side: int, shape: tuple[int, ...]) -> Float[Array, "*b h w"]:
    """Each place of a tile gets the tile's value."""
    rows, columns = u.shape[-2:]
    u = jnp.broadcast_to(
        u[..., :, None, :, None], (*u.shape[:-2], rows, side, columns, side)
    ).reshape(*u.shape[:-2], rows * side, columns * side)
    return u[..., : shape[0], : shape[1]]


def basis(fields: Float[Array, "f m h w"], side: int) -> Float[Array, "f m h w"]:
    """The fields made orthonormal within each tile, one after the other; 0 where they add nothing.

    Gram and Schmidt, twice, so that float32 is orthogonal to rounding.
    """
    found: list[Array] = []
    for field in fields:

        def along(a: Array, b: Array) -> Array:
            return spread(tile_sums((a * b).sum(0), side), side, fields.shape[-2:])

        whole = along(field, field)
        for _ in range(2):
            for known in found:
                field = field - known * along(known, field)
        left = along(field, field)
        distinct = left > jnp.maximum(_DISTINCT**2 * whole, jnp.finfo(whole.dtype).tiny)
        scale = jax.lax.rsqrt(jnp.where(distinct, left, 1))
        found.append(jnp.where(distinct, field * scale, 0))
    return jnp.stack(found)


def restrict(basis: Float[Array, "f m h w"], u: Array, side: int) -> Float[Array, "k f p q"]:
    """Pᵀu for u of K×M×H×W: the share of each field in each tile."""

    def share(field: Array) -> Array:
        # Term by term: jaxlib 0.10.2 gets `(field * u).sum(1)` wrong in float32 on CPUs where K and
        # M are more than 1 and planes are large, unless its kernels are kept to matrix products.
        total = field[0] * u[:, 0]
        for m in range(1, len(field)):
            total = total + field[m] * u[:, m]
        return tile_sums(total, side)

    return jnp.stack([share(field) for field in basis], 1)


def prolong(basis: Float[Array, "f m h w"], u: Array, side: int) -> Float[Array, "k m h w"]:
    """P u for u of K×F×P×Q."""
    spreads = spread(u, side, basis.shape[-2:])
    total = basis[0] * spreads[:, 0, None]
    for f in range(1, basis.shape[0]):
        total = total + basis[f] * spreads[:, f, None]
    return total


def coarse(matvec: Callable[[Array], Array], basis: Float[Array, "f m h w"], side: int) -> Blocks:
    """PᵀAP, in nine rounds: tiles three apart do not meet, and each hears from one of them only."""
    shape = basis.shape[-2:]
    like = jax.eval_shape(lambda: tile_sums(basis[:, 0], side))
    count, rows, columns = like.shape
    row = jax.lax.broadcasted_iota(jnp.int32, (rows, columns), 0)
    column = jax.lax.broadcasted_iota(jnp.int32, (rows, columns), 1)
    around = ((0, 0), *_BESIDE)

    def colour(down: int, right: int) -> Array:
        return (row + down) % 3 * 3 + (column + right) % 3

    def add(total: Array, which: Array) -> tuple[Array, None]:
        there = (colour(0, 0) == which).astype(basis.dtype)
        answer = restrict(basis, matvec(basis * spread(there, side, shape)), side)
        # [source's unknown, own unknown] to [own, source's].
        answer = answer.swapaxes(0, 1)
        heard = jnp.stack([colour(*away) == which for away in around])
        return jnp.where(heard[:, None, None], answer, total), None

    nothing = jnp.zeros((len(around), count, count, rows, columns), basis.dtype)
    total, _ = jax.lax.scan(add, nothing, jnp.arange(9))
    middle = (total[0] + total[0].swapaxes(0, 1)) / 2
    # A field that is left out in a tile has the equation 1·u = 0.
    unit = jnp.eye(count, dtype=bool)[:, :, None, None]
    return Blocks(jnp.where(unit & (middle <= 0), 1, middle), total[1:])


def _product(matrix: Float[Array, "a b h w"], u: Float[Array, "k b h w"]) -> Array:
    columns = [matrix[:, b] * u[:, b, None] for b in range(matrix.shape[1])]
    return sum(columns[1:], columns[0])

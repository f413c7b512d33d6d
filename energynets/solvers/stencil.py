"""Symmetric matrices on the pixels of a picture, whose rows reach no farther than a radius.

Every quadratic energy on a grid has one, uᵀAu - 2bᵀu + c, and the solvers take it in this form:

    nested_dissection.factor(stencil)           direct
    nested_dissection.substitute(factor, rhs)
    nested_dissection.update(factor, stencil)   where a kept factor's stencil changes
    multigrid.preconditioner(stencil)           iterative
    quadratic.minimise(...)                     either, refined against the energy's own derivative

The matrix is kept as conductances: between pixels, and from each pixel to the ground, which is the
row's sum. Both may have either sign. Differences of neighbours then are formed before anything is
summed, `apply` does not cancel on what is nearly constant, and a matrix whose conductances are not
negative can be eliminated without any cancellation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Stencil(NamedTuple):
    """A u = ground u + Σ_j edges_ij (u_i - u_j): A_ij = -edges_ij, and rows sum to ground.

    ground: H×W, the sums of the rows of A.
    edges: one plane for each of `offsets(radius)`, in their order. edges[m, i, j] joins the pixel
        (i, j) and (i, j) + offset m, and is 0 where that lies outside. 2r² + 2r planes: 4 for
        radius 1, 12 for radius 2. Each pair of pixels is listed once.

    A leading batch axis is the caller's `vmap`.
    """

    ground: Float[Array, "h w"]
    edges: Float[Array, "m h w"]

    @property
    def radius(self) -> int:
        return round(((1 + 2 * self.edges.shape[-3]) ** 0.5 - 1) / 2)


def offsets(radius: int) -> tuple[tuple[int, int], ...]:
    """(down, right) of one of each two opposite neighbours: down > 0, or down == 0 and right > 0.

    In reading order; for radius 1 they are (0, 1), (1, -1), (1, 0), (1, 1).
    """
    if radius < 1:
        raise ValueError(f"radius must be 1 or more, got {radius}")
    reach = range(-radius, radius + 1)
    return tuple((i, j) for i in range(radius + 1) for j in reach if i > 0 or j > 0)


def apply(stencil: Stencil, u: Float[Array, "h w *k"]) -> Float[Array, "h w *k"]:
    """A u, computed from differences of neighbours."""
    total = _beside(stencil.ground, u) * u
    for plane, (first, second) in pairs(stencil):
        flow = _beside(plane[first], u) * (u[first] - u[second])
        total = total.at[first].add(flow).at[second].add(-flow)
    return total


def diagonal(stencil: Stencil) -> Float[Array, "h w"]:
    """A_ii: the ground and all the edges of a pixel."""
    total = stencil.ground
    for plane, (first, second) in pairs(stencil):
        total = total.at[first].add(plane[first]).at[second].add(plane[first])
    return total


def coefficients(stencil: Stencil) -> Float[Array, "n h w"]:
    """The entries of A: the diagonal, then A at each of `offsets`; 2r² + 2r + 1 planes."""
    return jnp.concatenate([diagonal(stencil)[None], -stencil.edges])


def probe(matvec: Callable[[Array], Array], like: Float[Array, "h w"], *, radius: int) -> Stencil:
    """The stencil of a linear, symmetric function of H×W planes, found by (2r+1)² + 1 calls.

    Each call sees pixels that lie 2r+1 apart, so that no row meets two of them. For the energy of
    your own this is its Hessian-vector product; where the entries are known, write them down.

    Args:
        matvec: from H×W to H×W; must not reach farther than `radius` in rows and columns.
        like: any plane of the wanted shape and type.
        radius: at least 1, static.
    """
    side = 2 * radius + 1
    rows = jax.lax.broadcasted_iota(jnp.int32, like.shape, 0)
    columns = jax.lax.broadcasted_iota(jnp.int32, like.shape, 1)

    def colour(down: int, right: int) -> Array:
        return (rows + down) % side * side + (columns + right) % side

    def add(edges: list[Array], which: Array) -> tuple[list[Array], None]:
        response = matvec((colour(0, 0) == which).astype(like.dtype))
        places = zip(edges, offsets(radius), strict=True)
        return [jnp.where(colour(*at) == which, -response, edge) for edge, at in places], None

    nothing = [jnp.zeros_like(like)] * len(offsets(radius))
    edges, _ = jax.lax.scan(add, nothing, jnp.arange(side**2))
    height, width = like.shape
    inside = [
        (rows + down < height) & (columns + right < width) & (columns + right >= 0)
        for down, right in offsets(radius)
    ]
    edges = [jnp.where(there, edge, 0) for there, edge in zip(inside, edges, strict=True)]
    return Stencil(matvec(jnp.ones_like(like)), jnp.stack(edges))


def pairs(stencil: Stencil):
    """Each plane of edges with the slices of the pixels at its two ends; none that fall outside."""
    height, width = stencil.ground.shape
    for plane, (down, right) in zip(stencil.edges, offsets(stencil.radius), strict=True):
        if down < height and abs(right) < width:
            left, shifted = slice(max(-right, 0), width - max(right, 0)), abs(right)
            across = slice(left.start + right, left.stop + right) if shifted else left
            yield plane, ((slice(0, height - down), left), (slice(down, height), across))


def _beside(plane: Array, u: Array) -> Array:
    return plane.reshape(plane.shape + (1,) * (u.ndim - 2))

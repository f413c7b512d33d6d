"""The matting energy: within every small window, alpha is nearly an affine function of colour."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from energynets.ops import windows
from energynets.seeded import Seeded

Scalar = float | Float[Array, ""]
Planes = list[Array]


@functools.partial(jax.jit, static_argnames="radius")
def energy(
    inputs: Seeded,
    alpha: Float[Array, "h w"],
    *,
    epsilon: Scalar = 1e-5,
    seed_weight: Scalar = 1.0,
    radius: int = 1,
) -> Float[Array, ""]:
    """doc"""
    image, seeds = inputs
    smooth = smoothness(image, alpha, epsilon=epsilon, radius=radius)
    known = seeds.sum(-1)
    return smooth + seed_weight * (known * jnp.square(alpha - seeds[..., 1])).sum()


@functools.partial(jax.jit, static_argnames="radius")
def smoothness(image, alpha, *, epsilon=1e-5, radius=1):
    dtype = jnp.result_type(image, alpha, jnp.float32)
    return _residual(image.astype(dtype), alpha.astype(dtype), jnp.asarray(epsilon, dtype), radius)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _residual(image, alpha, epsilon, radius):
    colour = list(jnp.moveaxis(image, -1, 0))
    slope, offset = _fit(colour, alpha, epsilon, radius)
    middle = [windows.centres(p, radius) for p in colour]
    amid = windows.centres(alpha, radius)

    def term(at):
        r = at(alpha) - amid - offset
        for s, p, m in zip(slope, colour, middle):
            r = r - s * (at(p) - m)
        return jnp.square(r)

    misfit = windows.accumulate(term, radius)
    return misfit.sum() + epsilon * sum(jnp.square(s).sum() for s in slope)


def _derivative(image, alpha, epsilon, radius):
    colour = list(jnp.moveaxis(image, -1, 0))
    slope, offset = _fit(colour, alpha, epsilon, radius)
    sp = functools.partial(windows.spread, radius=radius)
    middle = [sp(windows.centres(p, radius)) for p in colour]
    amid = sp(windows.centres(alpha, radius))
    inside = sp(jnp.ones_like(offset))
    slope_, offset_ = [sp(s) for s in slope], sp(offset)

    def term(at):
        r = at(inside) * (alpha - at(amid)) - at(offset_)
        for s, p, m in zip(slope_, colour, middle):
            r = r - at(s) * (p - at(m))
        return r, [at(s) * r for s in slope_]

    da, dc = windows.accumulate(term, radius)
    return (
        -2 * jnp.stack(dc, -1),
        2 * da,
        sum(jnp.square(s).sum() for s in slope),
    )


def _jvp(radius, primals, tangents):
    parts = _derivative(*primals, radius)
    value = _residual(*primals, radius)
    tangent = jnp.zeros_like(value)
    for part, t in zip(parts, tangents):
        if not isinstance(t, SymbolicZero):
            tangent = tangent + (part * t).sum()
    return value, tangent


_residual.defjvp(_jvp, symbolic_zeros=True)

REFINE = 1


def _fit(colour, alpha, epsilon, radius):
    n = (2 * radius + 1) ** 2
    mid = [windows.centres(p, radius) for p in (*colour, alpha)]
    total = windows.accumulate(
        lambda at: [at(p) - m for p, m in zip((*colour, alpha), mid)], radius
    )
    mean = [t / n for t in total]

    def centred(at):
        return [at(p) - m - b for p, m, b in zip((*colour, alpha), mid, mean)]

    def products(at):
        *d, a = centred(at)
        return [[d[i] * d[j] for j in range(i + 1)] for i in range(len(d))], [x * a for x in d]

    S, b = windows.accumulate(products, radius)
    factor = _factor(S, epsilon)
    slope = _substitute(factor, b)
    for _ in range(REFINE):

        def remaining(at):
            *d, a = centred(at)
            r = a - sum(s * x for s, x in zip(slope, d))
            return [x * r for x in d]

        rest = windows.accumulate(remaining, radius)
        step = _substitute(factor, [x - epsilon * s for x, s in zip(rest, slope)])
        slope = [s + x for s, x in zip(slope, step)]
    offset = mean[-1] - sum(s * m for s, m in zip(slope, mean))
    return slope, offset


def _factor(S, epsilon):
    C = len(S)
    low = [[None] * C for _ in range(C)]
    D = []
    for i in range(C):
        v = []
        for j in range(i):
            # v_j = L_ij D_j
            x = S[i][j] - sum(v[k] * low[j][k] for k in range(j))
            v.append(x)
            low[i][j] = x / D[j]
        d = S[i][i] + epsilon - sum(v[k] * low[i][k] for k in range(i))
        d = d + jax.lax.stop_gradient(jnp.maximum(d, epsilon) - d)
        D.append(d)
    return low, D


def _substitute(factor, b):
    low, D = factor
    C = len(D)
    y = []
    for i in range(C):
        y.append(b[i] - sum(low[i][k] * y[k] for k in range(i)))
    x = [None] * C
    for i in reversed(range(C)):
        x[i] = y[i] / D[i] - sum(low[k][i] * x[k] for k in range(i + 1, C))
    return x

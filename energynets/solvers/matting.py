"""The exact minimum of the matting energy."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from energynets.energies.matting import energy
from energynets.ops import windows
from energynets.seeded import Seeded
from energynets.solvers import quadratic
from energynets.solvers.nested_dissection import Factor
from energynets.solvers.solution import Solution
from energynets.solvers.stencil import Stencil, offsets

Scalar = float | Float[Array, ""]


@functools.partial(jax.jit, static_argnames=("radius", "method"))
def solve(
    inputs: Seeded,
    *,
    epsilon: Scalar = 1e-5,
    seed_weight: Scalar = 1.0,
    tol: Scalar | None = None,
    radius: int = 1,
    start: Float[Array, "h w"] | None = None,
    factor: Factor | None = None,
    method: quadratic.Method = "auto",
) -> Solution:
    """argmin over α of `energies.matting.energy`: (L + λQ) α = λ Q x, brought to [0, 1].

    Direct: nested dissection, refined against the energy's own derivative; see
    `quadratic.minimise`. Work of order N^1.5 and memory N log N for N pixels, whatever the seeds
    are. λ is a weight and not a constraint; from 1e3 or so on seeded pixels have their seed's
    value for practical purposes, and 1e6 is solved as well as 1.

    `value` is α, H×W; the minimum itself can lie a little outside [0, 1], and is clipped.
    Without any seeds it is 0. Differentiable in the image, the seeds, epsilon and seed_weight,
    forwards and backwards; the derivative of what is clipped is 0.

    `residual` is max |D⁻¹ (λ Q x - (L + λQ) α)| before α is clipped, D being the diagonal of the
    matrix, and `converged` asks, too, that the last correction was at most `tol`. In float32 that
    fails for small epsilon, where many alphas explain the picture equally well to float32's eyes,
    and where it holds at 1e-7, alphas were up to 3e-4 off; float64 solves 1e-7 too.

    Args:
        inputs: image H×W×C in [0, 1], seed planes H×W×2: background, then foreground. Computed in
            the image's type, in float32 at least.
        epsilon: above 0; see `energies.matting.smoothness`.
        seed_weight: λ, at least 0.
        tol: largest residual and last correction; eps^(2/3) if None, which is 2e-5 in float32 and
            4e-11 in float64.
        radius: of the windows.
        start: where to begin, H×W; 0 if None.
        factor: of `stencil`, from `nested_dissection.keep` and, after a stroke more, `update`, for
            a fraction of a new factor's time. Give the solution before it as `start` as well. One
            of `stencil` for other seeds may do, too, see `quadratic.minimise`.
        method: "direct", "iterative", or by size, see `quadratic.minimise`.

    Raises:
        ValueError: as `energies.matting.energy`, or if start has another shape.
    """
    dtype = jnp.promote_types(inputs.image.dtype, jnp.float32)
    image, seeds, epsilon, seed_weight = (
        jnp.asarray(leaf, dtype) for leaf in (*inputs, epsilon, seed_weight)
    )
    given = Seeded(image, seeds)

    def of(alpha: Array) -> Array:
        return energy(given, alpha, epsilon=epsilon, seed_weight=seed_weight, radius=radius)

    like = jnp.zeros(image.shape[:2], dtype)
    jax.eval_shape(of, like)  # refuses what does not fit before anything else can
    if start is not None and start.shape != like.shape:
        raise ValueError(f"start must be H×W like alpha, got {start.shape} for {like.shape}")
    matrix = stencil(given, epsilon=epsilon, seed_weight=seed_weight, radius=radius)
    # Every window is nearly content with any affine function of its colours.
    spanned = jnp.concatenate([jnp.ones_like(like)[None], jnp.moveaxis(image, -1, 0)])
    solution = quadratic.minimise(
        of,
        like,
        matrix=matrix,
        factor=factor,
        start=start,
        tol=tol,
        method=method,
        spanned=jax.lax.stop_gradient(spanned),
    )
    return solution._replace(value=jnp.clip(solution.value, 0, 1))


@functools.partial(jax.jit, static_argnames="radius")
def stencil(
    inputs: Seeded, *, epsilon: Scalar = 1e-5, seed_weight: Scalar = 1.0, radius: int = 1
) -> Stencil:
    """L + λQ, half the second derivative of `energies.matting.energy`; its radius is 2r.

    L_ij = Σ over windows that hold i and j of δ_ij - 1/n - d_iᵀ G⁻¹ d_j, with n pixels a window,
    d colours less their mean in the window, and G = Σ d dᵀ + ε. Levin, Lischinski, Weiss, Eq. 12,
    with the covariance's ε/n. Memory for 12 planes of the result (3×3 windows) and some more.
    Ranges as in `solve`.
    """
    image, seeds = inputs
    return Stencil(seed_weight * seeds.sum(-1), laplacian_edges(image, epsilon, radius))


def laplacian_edges(image: Array, epsilon: Scalar, radius: int) -> Float[Array, "m h w"]:
    """The conductances -L_ij of the matting Laplacian, as a `Stencil` of radius 2r lists them."""
    image = image.astype(jnp.result_type(image, jnp.float32))
    height, width = windows.count(image.shape, radius)
    away = offsets(2 * radius)
    edges = jnp.zeros((len(away), *image.shape[:2]), image.dtype)
    if 0 in (height, width):
        return edges
    side = 2 * radius + 1
    planes = windows.channels(image)
    middles = [windows.middles(plane, radius) for plane in planes]
    means, total = windows.centred(planes, radius)
    epsilon = jnp.asarray(epsilon, image.dtype)
    lower = _cholesky(total(_products), epsilon)

    # Factors to be divided by, one after the other.
    factors = [lower]
    if planes and epsilon.dtype == jnp.float32:
        factors.append(_lacking(lower, total, epsilon))

    def whitened(corner):
        """G = R Rᵀ; R⁻¹ d, so that products of two of them are d_iᵀ G⁻¹ d_j."""
        there = [jax.lax.dynamic_slice(plane, corner, (height, width)) for plane in planes]
        known = zip(there, middles, means, strict=True)
        z = [pixel - middle - mean for pixel, middle, mean in known]
        for factor in factors:
            z = _below(factor, z)
        return z

    # Each unordered pair of places in a window, first in reading order, and their offset's plane.
    places = [divmod(place, side) for place in range(side**2)]
    pairs = [(a, b) for a in places for b in places if a < b]
    which = [away.index((b[0] - a[0], b[1] - a[1])) for a, b in pairs]

    def add(edges, pair):
        first, second, plane = pair
        z = zip(whitened(tuple(first)), whitened(tuple(second)), strict=True)
        both = sum(a * b for a, b in z) + 1 / side**2
        at = (plane, first[0], first[1])
        before = jax.lax.dynamic_slice(edges, at, (1, height, width))
        return jax.lax.dynamic_update_slice(edges, before + both, at), None

    first, second = (np.asarray(end, np.int32) for end in zip(*pairs, strict=True))
    return jax.lax.scan(add, edges, (first, second, np.asarray(which, np.int32)))[0]


def _lacking(lower: list[list[Array]], total: Callable, epsilon: Array) -> list:
    """The factor that R lacks: where G is nearly singular, its squares lose half the digits.

    With z = R⁻¹d the sum Σ zzᵀ + ε R⁻¹R⁻ᵀ is 1 but for that, and R times its own factor is right
    to rounding (CholeskyQR2). Without, L is 1e-3 off in float32 and not even positive.
    """
    count, one = len(lower), jnp.ones_like(lower[0][0])
    seen = total(lambda d: _products(_below(lower, d)))
    for j in range(count):
        column = _below(lower, [one if i == j else 0 * one for i in range(count)])
        for i, row in enumerate(_products(column)):
            seen[i] = [a + epsilon * b for a, b in zip(seen[i], row, strict=True)]
    return _cholesky(seen, jnp.zeros_like(epsilon))


def _products(d: list[Array]) -> list[list[Array]]:
    """d dᵀ, its rows up to the diagonal."""
    return [[d[i] * d[j] for j in range(i + 1)] for i in range(len(d))]


def _below(lower: list[list[Array]], d: list[Array]) -> list[Array]:
    """R⁻¹ d, elementwise."""
    z: list[Array] = []
    for i, row in enumerate(lower):
        z.append((d[i] - sum(row[j] * z[j] for j in range(i))) / row[i])
    return z


def _cholesky(gram: list[list[Array]], epsilon: Array) -> list[list[Array]]:
    """R Rᵀ = gram + ε in every window, elementwise; the rows of R up to its diagonal."""
    lower = []
    for i, row in enumerate(gram):
        new = []
        for j in range(i):
            known = sum(new[k] * lower[j][k] for k in range(j))
            new.append((row[j] - known) / lower[j][j])
        # No pivot is below ε but by rounding.
        pivot = jnp.maximum(row[i] + epsilon - sum(x * x for x in new), epsilon)
        lower.append([*new, jnp.sqrt(pivot)])
    return lower

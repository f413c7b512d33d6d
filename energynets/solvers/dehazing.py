"""The exact minimum of the dehazing energy."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.dehazing import Hazy, energy
from energynets.solvers import quadratic
from energynets.solvers.matting import laplacian_edges
from energynets.solvers.nested_dissection import Factor
from energynets.solvers.solution import Solution
from energynets.solvers.stencil import Stencil

Scalar = float | Float[Array, ""]


@functools.partial(jax.jit, static_argnames=("radius", "method"))
def solve(
    inputs: Hazy,
    *,
    data_weight: Scalar = 1e-4,
    epsilon: Scalar = 1e-6,
    tol: Scalar | None = None,
    radius: int = 1,
    start: Float[Array, "h w"] | None = None,
    factor: Factor | None = None,
    method: quadratic.Method = "auto",
) -> Solution:
    """argmin over t of `energies.dehazing.energy`: (L + λ) t = λ t̃.

    By `quadratic.minimise`: directly, by nested dissection, or step by step where the factor would
    be too large. `value` is t, H×W, and is not clipped: nothing constrains its range. Coarse
    transmissions that are the same everywhere are their own minimum. Differentiable in the
    picture, the coarse transmission, data_weight and epsilon, forwards and backwards.

    `residual` is max |D⁻¹ (λ t̃ - (L + λ) t)|, D being the diagonal of the matrix, and `converged`
    asks, too, that the last correction was at most `tol`. The small λ and ε of the papers leave
    directions that cost hardly any energy: float32 cannot confirm them on every picture.

    Args:
        inputs: image H×W×C in [0, 1] and coarse transmission, H×W. Computed in the image's type, in
            float32 at least.
        data_weight: λ, above 0.
        epsilon: above 0; see `energies.matting.smoothness`.
        tol: largest residual and last correction; eps^(2/3) if None, which is 2e-5 in float32 and
            4e-11 in float64.
        radius: of the windows.
        start: where to begin, H×W; 0 if None.
        factor: of `stencil`, from `nested_dissection.keep` and `update`, or for a
            similar picture.
        method: "direct", "iterative", or by size, see `quadratic.minimise`.

    Raises:
        ValueError: as `energies.dehazing.energy`.
    """
    dtype = jnp.promote_types(inputs.image.dtype, jnp.float32)
    image, coarse, data_weight, epsilon = (
        jnp.asarray(leaf, dtype) for leaf in (*inputs, data_weight, epsilon)
    )
    given = Hazy(image, coarse)

    def of(t: Array) -> Array:
        return energy(given, t, data_weight=data_weight, epsilon=epsilon, radius=radius)

    like = jnp.zeros(image.shape[:2], dtype)
    jax.eval_shape(of, like)  # refuses what does not fit before anything else can
    # Every window is nearly content with any affine function of its colours.
    spanned = jnp.concatenate([jnp.ones_like(like)[None], jnp.moveaxis(image, -1, 0)])
    return quadratic.minimise(
        of,
        like,
        matrix=stencil(given, data_weight=data_weight, epsilon=epsilon, radius=radius),
        factor=factor,
        start=start,
        tol=tol,
        method=method,
        spanned=jax.lax.stop_gradient(spanned),
    )


@functools.partial(jax.jit, static_argnames="radius")
def stencil(
    inputs: Hazy, *, data_weight: Scalar = 1e-4, epsilon: Scalar = 1e-6, radius: int = 1
) -> Stencil:
    """L + λ, half the second derivative of `energies.dehazing.energy`; its radius is 2r.

    The matting Laplacian, see `solvers.matting.stencil`, with a data term at every pixel.
    """
    image = inputs.image.astype(jnp.promote_types(inputs.image.dtype, jnp.float32))
    ground = jnp.full(image.shape[:2], data_weight, image.dtype)
    return Stencil(ground, laplacian_edges(image, epsilon, radius))

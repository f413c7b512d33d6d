"""The matting energy: in every small window alpha is nearly an affine function of colour."""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from energynets.ops import ridge, windows
from energynets.ops.grid import over_last
from energynets.ops.ridge import Fit, Planes
from energynets.seeded import Seeded

Scalar = float | Float[Array, ""]


@functools.partial(jax.jit, static_argnames="radius")
def energy(
    inputs: Seeded,
    alpha: Float[Array, "h w"],
    *,
    epsilon: Scalar = 1e-5,
    seed_weight: Scalar = 1.0,
    radius: int = 1,
) -> Float[Array, ""]:
    """E(α) = αᵀLα + λ (α - x)ᵀQ(α - x), summed over pixels.

    L is the matting Laplacian, see `smoothness`; Q is the diagonal that is 1 where background or
    foreground is seeded, and x is 1 at the seeds of the foreground. Non-negative.

    Args:
        inputs: image H×W×C in [0, 1] with any number of channels, and H×W×2 seed planes in
            {0, 1}: background, then foreground.
        alpha: H×W, the share of the foreground. Nothing constrains its range.
        epsilon: in squared units of colour in [0, 1], above 0; see `smoothness`.
        seed_weight: λ.
        radius: of the windows in pixels, at least 1 and static: 1 gives 3×3.

    Raises:
        ValueError: if image, seeds and alpha do not lie on the same grid, if there are not two
            seed planes, or if the radius is below 1.

    Source: Golts, Freedman, Elad, "Deep Energy", journal Eq. 16. Its sum runs over ordered pairs
    and is 2 αᵀLα; ours is αᵀLα, so that the minimiser is (L + λQ)⁻¹ λ x for either.
    """
    image, seeds = inputs
    if seeds.shape != (*alpha.shape, 2):
        raise ValueError(
            "seeds must be H×W×2, background and foreground, on the grid of alpha H×W, got "
            f"{seeds.shape} and {alpha.shape}"
        )
    dtype = jnp.result_type(image, alpha, seeds, jnp.float32)
    alpha, seeds = alpha.astype(dtype), seeds.astype(dtype)
    background, foreground = seeds[..., 0], seeds[..., 1]
    misfit = (background + foreground) * jnp.square(alpha - foreground)
    smooth = smoothness(image, alpha, epsilon=epsilon, radius=radius)
    return smooth + seed_weight * over_last(misfit).sum()


@functools.partial(jax.jit, static_argnames="radius")
def smoothness(
    image: Float[Array, "h w c"],
    alpha: Float[Array, "h w"],
    *,
    epsilon: Scalar = 1e-5,
    radius: int = 1,
) -> Float[Array, ""]:
    """αᵀLα = Σ_k min over s, t of Σ_{i in k} (α_i - s·I_i - t)² + ε |s|², k being the windows.

    Windows have (2r+1)² pixels and lie wholly inside the picture; one that is smaller than a
    window costs 0. Non-negative, 0 for a constant alpha, and at most ε |s|² a window if alpha is
    affine in the colours. Ranges and errors as in `energy`.

    Computed as this sum of squares, from colours centred per window, in at least float32, and so
    are the first derivatives. In float32 and at epsilon 1e-5 the value is right to 1e-6 of itself
    and the gradients to some 1e-5 of their largest entry, also where strong edges of brightness
    carry colours that differ by little more than the square root of epsilon. At 1e-7 that of the
    picture is right to 1e-3, since float32 lacks digits of such colours. A gradient that nearly
    vanishes, alpha being affine in the colours, is right to some 1e-5. Value, gradients, and
    products with their derivative forwards take memory for a few planes a channel whatever the
    radius; differentiating backwards twice keeps more.

    Source: Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image Matting". Their
    weights between 81 ordered pairs of a 3×3 window (Golts et al., journal Eq. 17) are what is
    left after minimising; half the sum over pairs equals this. Equals αᵀLα with PyMatting's
    `cf_laplacian(image, epsilon, radius)`: epsilon / (2r+1)² is added to the covariance.
    """
    if image.ndim != 3 or image.shape[:2] != alpha.shape:
        raise ValueError(f"image H×W×C and alpha H×W must agree, got {image.shape}, {alpha.shape}")
    if radius < 1:
        raise ValueError(f"radius must be 1 or more, got {radius}")
    dtype = jnp.result_type(image, alpha, jnp.float32)
    if 0 in windows.count(alpha.shape, radius):
        return jnp.zeros((), dtype)
    colours = windows.channels(image.astype(dtype))
    alpha, epsilon = alpha.astype(dtype), jnp.asarray(epsilon, dtype)
    return _misfit(colours, alpha, epsilon, ridge.fit(colours, alpha, epsilon, radius), radius)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _misfit(colours: Planes, alpha: Array, epsilon: Array, fit: Fit, radius: int) -> Array:
    _, total = windows.centred((*colours, alpha), radius)

    def squared(both):
        *d, a = both
        return jnp.square(a - ridge.dot(fit.slope, d))

    return over_last(total(squared) + epsilon * ridge.dot(fit.slope, fit.slope)).sum()


def _misfit_jvp(radius: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The derivative at a fit that minimises: how the fit changes does not enter.

    It does enter the second derivative, through the fit that the first depends on. Left to
    autodiff, the terms that cancel would be computed, in float32 with what rounding leaves of them.
    """
    colours, alpha, epsilon, fit = primals
    of_colours, of_alpha, of_epsilon = _derivatives(colours, alpha, fit, radius)
    pairs = [*zip(of_colours, tangents[0], strict=True)]
    pairs += [(of_alpha, tangents[1]), (of_epsilon, tangents[2])]
    terms = [(left * right).sum() for left, right in pairs if not isinstance(right, SymbolicZero)]
    value = _misfit(colours, alpha, epsilon, fit, radius)
    return value, sum(terms, jnp.zeros_like(value))


_misfit.defjvp(_misfit_jvp, symbolic_zeros=True)


def _derivatives(colours: Planes, alpha: Array, fit: Fit, radius: int) -> tuple:
    """With respect to colours, alpha and epsilon: Σ -2 r_i s, Σ 2 r_i and Σ |s|².

    The sums run over windows, and r_i = α_i - s·I_i - t are the residuals in each.
    """
    # Everything here lies over pixels: `at` is a window that contains the pixel, or 0 for none.
    inside = windows.surrounded(jnp.ones_like(fit.offset), radius)
    offset = windows.surrounded(fit.offset, radius)
    slope = [windows.surrounded(plane, radius) for plane in fit.slope]
    middle, *middles = (
        windows.surrounded(windows.middles(plane, radius), radius) for plane in (alpha, *colours)
    )

    def residuals(at):
        here = [at(plane) for plane in slope]
        there = [colour - at(own) for colour, own in zip(colours, middles, strict=True)]
        residual = at(inside) * (alpha - at(middle)) - at(offset) - ridge.dot(here, there)
        return residual, [plane * residual for plane in here]

    of_alpha, of_colours = windows.accumulate(residuals, radius)
    return (
        [-2 * plane for plane in of_colours],
        2 * of_alpha,
        jnp.sum(ridge.dot(fit.slope, fit.slope)),
    )

"""Second derivatives of a prediction: energies for tubes and ridges, and for slopes."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.potts import check_grid
from energynets.ops import derivatives
from energynets.ops.widths import positive_widths

Planes = Float[Array, "h w k"]
Scalar = float | Float[Array, ""]


def _mean_and_spread(probabilities: Planes, sigma: Scalar, radius: int, smooth: Scalar):
    """|m| and r, smoothed, where m ± r are the eigenvalues of the Hessian of G_σ * P."""
    planes = derivatives.blur(probabilities, sigma, radius) if radius else probabilities
    rows, mixed, columns = derivatives.hessian(planes)
    mean = 0.5 * (rows + columns)
    squared = 0.25 * jnp.square(rows - columns) + jnp.square(mixed)
    return _root(jnp.square(mean), smooth), _root(squared, smooth)


def _root(squared: Array, smooth: Scalar) -> Array:
    """√squared with a derivative at 0."""
    return jnp.sqrt(squared + smooth**2) - smooth


@positive_widths
@functools.partial(jax.jit, static_argnames="radius")
def energy(
    image: Float[Array, "h w c"],
    probabilities: Planes,
    *,
    sigma: Scalar = 1.0,
    radius: int = 3,
    smooth: Scalar = 1e-3,
) -> Float[Array, ""]:
    """E(P) = Σ min(|κ₁|, |κ₂|) of the Hessian of G_σ * P, summed over pixels and labels.

    κ = m ± r are the Hessian's eigenvalues, and the smaller magnitude is ||m| - r|. It is 0
    on anything that varies in one direction only, so straight tubes, ridges and borders of any
    width are free; dots, ends, corners and bends cost. All roots are taken of s² more and s less.

    Args:
        image: not looked at; all energies of segments take the same arguments.
        probabilities: P. Nothing constrains its range.
        sigma: σ in pixels, above 0.
        radius: where G_σ is cut off, in pixels, static; 0: no blur.
        smooth: s, in units of P per squared pixel.

    Raises:
        ValueError: if the two do not lie on one grid or are not floating point, or sigma is not
            above 0.

    Source: named as next in Javanmardi et al., "Unsupervised Total Variation Loss …", Sec. 6,
    without a formula; the eigenvalues are those of vesselness filters. Borders repeat the last
    pixel.
    """
    check_grid(image, probabilities)
    mean, spread = _mean_and_spread(probabilities, sigma, radius, smooth)
    return _root(jnp.square(mean - spread), smooth).sum()


@positive_widths
@functools.partial(jax.jit, static_argnames="radius")
def norm(
    image: Float[Array, "h w c"],
    probabilities: Planes,
    *,
    sigma: Scalar = 1.0,
    radius: int = 0,
    smooth: Scalar = 1e-3,
) -> Float[Array, ""]:
    """E(P) = Σ |κ₁| + |κ₂| = Σ 2 max(|m|, r): total variation of second order.

    Slopes are free, so that probabilities may fade evenly; arguments as in `energy`. Schatten's
    1-norm of the Hessian.
    """
    check_grid(image, probabilities)
    mean, spread = _mean_and_spread(probabilities, sigma, radius, smooth)
    return 2 * jnp.maximum(mean, spread).sum()

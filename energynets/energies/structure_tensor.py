"""One direction a neighbourhood: an energy for vessels, fibres, membranes and other curves."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.potts import check_grid
from energynets.ops import derivatives
from energynets.ops.widths import positive_widths

Scalar = float | Float[Array, ""]


@positive_widths
@functools.partial(jax.jit, static_argnames="radius")
def energy(
    image: Float[Array, "h w c"],
    probabilities: Float[Array, "h w k"],
    *,
    sigma: Scalar = 2.0,
    radius: int = 5,
    smooth: Scalar = 1e-4,
) -> Float[Array, ""]:
    """E(P) = Σ μ₂, the smaller eigenvalue of J = G_σ * (∇P ∇Pᵀ), summed over pixels and labels.

    J is the structure tensor: its smaller eigenvalue is 0 where all gradients of a neighbourhood
    are parallel, as along straight lines and borders of any width, and positive at ends, corners,
    dots and noise. Total variation shortens a thin line away; this does not. With a, b, c the
    entries of J, μ₂ = (a + c - √((a - c)² + 4b²))/2, and the root is taken of s² more and s less,
    so that it has a derivative where J is 0.

    Args:
        image: not looked at; all energies of segments take the same arguments.
        probabilities: P. Nothing constrains its range.
        sigma: σ in pixels, above 0.
        radius: where G_σ is cut off, in pixels, static.
        smooth: s, in units of P² per squared pixel.

    Raises:
        ValueError: if the two do not lie on one grid or are not floating point, or sigma is not
            above 0.

    Source: named as next in Javanmardi et al., "Unsupervised Total Variation Loss …", Sec. 6,
    without a formula. Central differences; borders repeat the last pixel.
    """
    check_grid(image, probabilities)
    down, right = derivatives.central(probabilities)
    entries = (down * down, down * right, right * right)
    a, b, c = (derivatives.blur(entry, sigma, radius) for entry in entries)
    root = jnp.sqrt(jnp.square(a - c) + 4 * jnp.square(b) + smooth**2) - smooth
    return 0.5 * (a + c - root).sum()

"""The exact minimum of the dehazing energy."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.dehazing import Hazy
from energynets.solvers.matting import laplacian_edges
from energynets.solvers.stencil import Stencil

Scalar = float | Float[Array, ""]


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

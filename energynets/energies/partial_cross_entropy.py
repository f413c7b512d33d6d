"""Cross entropy on the pixels whose label is known."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.jit
def energy(seeds: Float[Array, "h w k"], probabilities: Float[Array, "h w k"]) -> Float[Array, ""]:
    """E(y) = -Σ x log y, summed over the pixels where a plane of `seeds` is 1, in nats.

    Args:
        seeds: x, planes in {0, 1}; nothing is asked where all are 0.
        probabilities: y, in [0, 1]; below 1e-7 they count as 1e-7, so that the sum and its
            gradient stay finite.

    Raises:
        ValueError: if the two differ in shape.

    Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", Eq. 1,
    there called partial cross entropy.
    """
    if seeds.shape != probabilities.shape:
        raise ValueError(
            f"seeds and probabilities must agree, got {seeds.shape} and {probabilities.shape}"
        )
    return -(seeds * jnp.log(jnp.clip(probabilities, 1e-7))).sum()

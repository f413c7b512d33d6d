"""Squared error on the pixels whose label is known."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.jit
def energy(seeds: Float[Array, "h w k"], probabilities: Float[Array, "h w k"]) -> Float[Array, ""]:
    """E(y) = Σ (y - x)², summed over labels and over the pixels where a plane of `seeds` is not 0.

    Args:
        seeds: x, planes in {0, 1}; nothing is asked where all are 0. With a single plane, where
            "labelled 0" and "not labelled" would look alike, give both planes.
        probabilities: y. Nothing constrains its range.

    Raises:
        ValueError: if the two differ in shape.

    Source: Javanmardi et al., "Unsupervised Total Variation Loss for Semi-supervised Deep Learning
    of Semantic Segmentation", Eq. 1; with two planes that sum to 1 it is twice theirs.
    """
    if seeds.shape != probabilities.shape:
        raise ValueError(
            f"seeds and probabilities must agree, got {seeds.shape} and {probabilities.shape}"
        )
    known = (seeds != 0).any(-1, keepdims=True)
    return jnp.where(known, jnp.square(probabilities - seeds), 0).sum()

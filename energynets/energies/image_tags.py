"""The three losses of "Seed, Expand and Constrain", for pictures of which only the tags are known.

`seeding` asks for the labels of localisation cues, `expansion` for as much of each tag as objects
usually cover and for nothing of other labels, `boundary` for agreement with a dense CRF.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies import partial_cross_entropy

Planes = Float[Array, "h w k"]
Scalar = float | Float[Array, ""]

_LEAST = 1e-7


@jax.jit
def seeding(seeds: Planes, probabilities: Planes) -> Float[Array, ""]:
    """E(f) = -Σ_c Σ_{u∈S_c} log f_uc / Σ_c |S_c|: the mean cross entropy over seeds, 0 without any.

    Args:
        seeds: planes in {0, 1}; a pixel may carry several.
        probabilities: f, in [0, 1]; below 1e-7 they count as 1e-7.

    Raises:
        ValueError: if the two differ in shape.

    Source: Kolesnikov and Lampert, "Seed, Expand and Constrain", Eq. 2.
    """
    return partial_cross_entropy.energy(seeds, probabilities) / jnp.maximum(seeds.sum(), 1)


def _ranked_mean(plane: Float[Array, " n"], decay: Scalar) -> Float[Array, ""]:
    """Σ_j d^j f_j / Σ_j d^j over values in falling order: the maximum at d = 0, the mean at 1."""
    ranked = -jnp.sort(-plane)
    weights = jnp.asarray(decay, plane.dtype) ** jnp.arange(plane.shape[0], dtype=plane.dtype)
    return (weights * ranked).sum() / weights.sum()


@jax.jit
def expansion(
    tags: Float[Array, " k"],
    probabilities: Planes,
    *,
    decay_present: Scalar = 0.996,
    decay_absent: Scalar = 0.0,
    decay_background: Scalar = 0.999,
) -> Float[Array, ""]:
    """E(f) = -mean_{c∈T} log G_c - mean_{c∉T} log (1 - G_c) - log G_background.

    G_c is a mean of plane c weighted by rank, with weights d^j for the j-th largest value. Label 0
    is the background, present in every picture and in neither mean. A mean over no label is 0.

    Args:
        tags: 1 for each label that the picture shows, else 0; the first entry is not looked at.
        probabilities: f, in [0, 1]; logarithms stop at that of 1e-7.
        decay_present, decay_absent, decay_background: d. The published values belong to planes of
            41×41: 0.996 stands for about 250 pixels, 0.999 for most of the plane. On H×W planes
            d^(41²/HW) covers the same share.

    Raises:
        ValueError: if there is not one tag for each plane.

    Source: Kolesnikov and Lampert, "Seed, Expand and Constrain", Eq. 3 and 4.
    """
    labels = probabilities.shape[-1]
    if tags.shape != (labels,):
        raise ValueError(f"tags must be {labels} numbers, one for each plane, got {tags.shape}")
    planes = probabilities.reshape(-1, labels).T
    over_planes = jax.vmap(_ranked_mean, (0, None))
    is_object = jnp.arange(labels) > 0
    present = jnp.where(is_object, tags > 0, False).astype(probabilities.dtype)
    absent = jnp.where(is_object, tags <= 0, False).astype(probabilities.dtype)
    shown = jnp.log(jnp.maximum(over_planes(planes, decay_present), _LEAST))
    hidden = jnp.log(jnp.maximum(1 - over_planes(planes, decay_absent), _LEAST))
    background = jnp.log(jnp.maximum(_ranked_mean(planes[0], decay_background), _LEAST))
    return -(
        (present * shown).sum() / jnp.maximum(present.sum(), 1)
        + (absent * hidden).sum() / jnp.maximum(absent.sum(), 1)
        + background
    )


@jax.jit
def boundary(proposal: Planes, probabilities: Planes) -> Float[Array, ""]:
    """E(f) = mean over pixels of Σ_c Q_c log (Q_c / f_c), the divergence of f from the CRF's Q.

    Args:
        proposal: Q, such as `solvers.mean_field.solve(…).value`; on the simplex. The loss is
            differentiated through Q as it is in the paper, unless Q is a constant; stopping the
            gradient there changes little (Tang et al., Table 3).
        probabilities: f, in [0, 1]; below 1e-7 both count as 1e-7.

    Raises:
        ValueError: if the two differ in shape.

    Source: Kolesnikov and Lampert, "Seed, Expand and Constrain", Eq. 5, the constrain-to-boundary
    loss.
    """
    if proposal.shape != probabilities.shape:
        raise ValueError(
            f"proposal and probabilities must agree, got {proposal.shape} and {probabilities.shape}"
        )
    wanted, given = jnp.maximum(proposal, _LEAST), jnp.maximum(probabilities, _LEAST)
    height, width = proposal.shape[:2]
    return (proposal * (jnp.log(wanted) - jnp.log(given))).sum() / (height * width)

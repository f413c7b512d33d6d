"""The Potts energy of soft segments, Σ_k S_kᵀ W (1 - S_k), on the 4-neighbour grid."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.random_walker import edge_weights

Scalar = float | Float[Array, ""]


def check_grid(image: Array, probabilities: Array) -> None:
    """Raises ValueError unless image H×W×C and probabilities H×W×K lie on one grid, and are
    floating point: levels of 255 are no colours in [0, 1], and their differences wrap around."""
    if image.ndim != 3 or probabilities.ndim != 3 or image.shape[:2] != probabilities.shape[:2]:
        raise ValueError(
            f"image H×W×C and probabilities H×W×K must agree, got {image.shape} and "
            f"{probabilities.shape}"
        )
    for name, of in (("image", image), ("probabilities", probabilities)):
        if not jnp.issubdtype(of.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating point, got {of.dtype}")


@jax.jit
def energy(
    image: Float[Array, "h w c"],
    probabilities: Float[Array, "h w k"],
    *,
    beta: Scalar = 100.0,
    floor: Scalar = 0.0,
) -> Float[Array, ""]:
    """E(S) = Σ_k S_kᵀ W (1 - S_k), over ordered pairs of neighbours, summed over labels.

    W_pq = exp(-beta |I_p - I_q|²) + floor for the 4 neighbours, else 0. Not negative for S in
    [0, 1], 0 for one certain label everywhere. For certain segments it is 2 W_pq for each pair that
    is parted, which is yᵀLy of `random_walker.energy` as well; between the corners the two
    relaxations of Potts' model differ: this one is concave and favours certainty.

    Args:
        image: in [0, 1], any number of channels.
        probabilities: S, in [0, 1].
        beta: sharpness, per squared difference of colour.
        floor: added to every weight.

    Raises:
        ValueError: if the two do not lie on one grid or are not floating point.

    Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", Eq. 4 with
    sparse W. The derivative is W1 - 2 W S_k; Eq. 11 leaves out W1, the same for all labels.
    """
    check_grid(image, probabilities)
    total = jnp.zeros((), probabilities.dtype)
    for axis in (0, 1):
        weights = edge_weights(image, axis, beta=beta, floor=floor)
        here, there = (probabilities[:-1], probabilities[1:])
        if axis == 1:
            here, there = (probabilities[:, :-1], probabilities[:, 1:])
        total += (weights * (here * (1 - there) + there * (1 - here)).sum(-1)).sum()
    return total


@jax.jit
def per_pixel(
    image: Float[Array, "h w c"],
    probabilities: Float[Array, "h w k"],
    *,
    beta: Scalar = 100.0,
    floor: Scalar = 0.0,
) -> Float[Array, ""]:
    """`energy` over the number of pixels, so that one weight serves all sizes."""
    height, width = probabilities.shape[:2]
    return energy(image, probabilities, beta=beta, floor=floor) / (height * width)

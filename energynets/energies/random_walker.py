"""The random-walker energy: labels spread over a picture and stop where its colour changes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.ops.grid import differences
from energynets.seeded import Seeded

Scalar = float | Float[Array, ""]


def edge_weights(
    image: Float[Array, "h w c"], axis: int, *, beta: Scalar, floor: Scalar
) -> Float[Array, "..."]:
    """w_ij = exp(-beta |I_i - I_j|²) + floor, in [floor, 1 + floor], of neighbours along `axis`.

    The first pixel of the pair gives the position: weight [r, c] joins (r, c) and its next pixel
    along `axis`. The floor keeps a pixel that is cut off on all sides attached: in float32 the
    exponential is 0 once beta |ΔI|² exceeds 88, and the exact system is then singular.
    """
    return jnp.exp(-beta * jnp.square(differences(image, axis)).sum(-1)) + floor


@jax.jit
def energy(
    inputs: Seeded,
    probabilities: Float[Array, "h w k"],
    *,
    beta: Scalar = 1000.0,
    seed_weight: Scalar = 1.0,
    floor: Scalar = 1e-6,
) -> Float[Array, ""]:
    """E(y) = yᵀLy + λ (y - x)ᵀQ(y - x), summed over pixels and labels.

    yᵀLy is the sum over neighbours of w_ij |y_i - y_j|², each pair counted once, with
    w_ij = exp(-beta |I_i - I_j|²) + floor; Q is the diagonal that is 1 where any label is seeded,
    and x are the seeds. Non-negative, and 0 only for constants that agree with every seed.

    Args:
        inputs: image H×W×C in [0, 1] with any number of channels (one grey channel gives the
            preprint's energy), and H×W×K seed planes in {0, 1}.
        probabilities: H×W×K, y. Nothing constrains its range.
        beta: sharpness, per squared difference of colour in [0, 1].
        seed_weight: λ.
        floor: what is added to every weight; see `edge_weights`.

    Raises:
        ValueError: if image, seeds and probabilities do not lie on the same grid, or if seeds
            and probabilities differ in their number of labels.

    Source: Golts, Freedman, Elad, "Deep Energy", journal Eq. 13 to 15, where the ½ of Eq. 14 runs
    over ordered pairs; twice this is the preprint's Eq. 5, which lacks the ½. Differs from
    `skimage.segmentation.random_walker`: beta is not divided by the image's deviation, and seeds
    are soft, with weight λ.
    """
    image, seeds = inputs
    if seeds.shape != probabilities.shape or image.shape[:2] != probabilities.shape[:2]:
        raise ValueError(
            "image H×W×C, seeds H×W×K and probabilities H×W×K must agree, got "
            f"{image.shape}, {seeds.shape} and {probabilities.shape}"
        )
    smooth = sum(
        (
            edge_weights(image, axis, beta=beta, floor=floor)
            * jnp.square(differences(probabilities, axis)).sum(-1)
        ).sum()
        for axis in (0, 1)
    )
    known = seeds.sum(-1)
    return smooth + seed_weight * (known * jnp.square(probabilities - seeds).sum(-1)).sum()

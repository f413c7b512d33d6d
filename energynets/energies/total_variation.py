"""Total variation of a prediction: regions are smooth, borders are short."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.potts import check_grid
from energynets.ops import derivatives
from energynets.ops.grid import differences


@jax.jit
def energy(image: Float[Array, "h w c"], probabilities: Float[Array, "h w k"]) -> Float[Array, ""]:
    """E(P) = Σ |∇_X P| + |∇_Y P| with Sobel's operators, summed over pixels and labels.

    Sobel's kernels as printed, with gain 8: a straight border between certain labels costs 8 for
    each pixel of its length and each of its two labels. Where the kernel leaves the picture the
    last pixel is repeated, so that a constant costs nothing; the paper gives no rule.

    Args:
        image: not looked at; all energies of segments take the same arguments.
        probabilities: P. Nothing constrains its range.

    The derivative is the paper's subgradient, Σ sign(∇P) times the kernel, with sign(0) = 0.

    Raises:
        ValueError: if the two do not lie on one grid or are not floating point.

    Source: Javanmardi et al., "Unsupervised Total Variation Loss for Semi-supervised Deep Learning
    of Semantic Segmentation", Eq. 7, 8, 11, 14.
    """
    check_grid(image, probabilities)
    down, right = derivatives.sobel(probabilities)
    return jnp.abs(down).sum() + jnp.abs(right).sum()


@jax.jit
def plain(image: Float[Array, "h w c"], probabilities: Float[Array, "h w k"]) -> Float[Array, ""]:
    """E(P) = Σ |P_q - P_p| over neighbours p, q, each pair once, summed over labels.

    The usual anisotropic total variation: a straight border costs 1 for each pixel of its length
    and each of its two labels. Arguments as in `energy`.
    """
    check_grid(image, probabilities)
    return sum(
        (jnp.abs(differences(probabilities, axis)).sum() for axis in (0, 1)),
        jnp.zeros((), probabilities.dtype),
    )

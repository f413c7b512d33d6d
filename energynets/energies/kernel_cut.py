"""Kernel cut: the dense CRF, which aligns borders, with normalized cut, which balances regions."""

import jax
from jaxtyping import Array, Float

from energynets.energies import dense_crf, normalized_cut
from energynets.energies.potts import check_grid
from energynets.ops import bilateral
from energynets.ops.widths import positive_widths

Planes = Float[Array, "h w k"]
Scalar = float | Float[Array, ""]


@positive_widths
@jax.jit
def energy(
    image: Float[Array, "h w c"],
    probabilities: Planes,
    *,
    sigma_position: bilateral.Sigma,
    sigma_colour: bilateral.Sigma,
    gamma: Scalar = 1.0,
    cut_sigma_position: bilateral.Sigma | None = None,
    cut_sigma_colour: bilateral.Sigma | None = None,
    present: Float[Array, " k"] | None = None,
) -> Float[Array, ""]:
    """E(S) = Σ_k S_kᵀ W (1 - S_k) + γ Σ_k S_kᵀ Ŵ (1 - S_k) / d̂ᵀS_k.

    The first part as in `dense_crf.energy`, a sum over pairs; the second as in
    `normalized_cut.energy`, in [0, K]. γ must therefore grow with the picture; see `per_pixel`.

    Args:
        image: any number of channels.
        probabilities: S, in [0, 1].
        sigma_position, sigma_colour: widths of W.
        gamma: γ; the papers do not state theirs.
        cut_sigma_position, cut_sigma_colour: widths of Ŵ, those of W by default.
        present: labels that count in the second part, as in `normalized_cut.energy`.

    Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", Eq. 6 and,
    for the derivative, Eq. 12 with the constant W1 that it leaves out.
    """
    check_grid(image, probabilities)
    crf, cut = _affinities(
        image, (sigma_position, sigma_colour), (cut_sigma_position, cut_sigma_colour)
    )
    parted = normalized_cut.of_affinity(cut, probabilities, present)
    return dense_crf.of_affinity(crf, probabilities) + gamma * parted


@positive_widths
@jax.jit
def per_pixel(
    image: Float[Array, "h w c"],
    probabilities: Planes,
    *,
    sigma_position: bilateral.Sigma,
    sigma_colour: bilateral.Sigma,
    gamma: Scalar = 1.0,
    cut_sigma_position: bilateral.Sigma | None = None,
    cut_sigma_colour: bilateral.Sigma | None = None,
    present: Float[Array, " k"] | None = None,
) -> Float[Array, ""]:
    """`dense_crf.per_pixel` + γ `normalized_cut.energy`: one γ and one weight for all sizes."""
    check_grid(image, probabilities)
    crf, cut = _affinities(
        image, (sigma_position, sigma_colour), (cut_sigma_position, cut_sigma_colour)
    )
    parted = normalized_cut.of_affinity(cut, probabilities, present)
    return dense_crf.share_of_affinity(crf, probabilities) + gamma * parted


def _affinities(image, widths, cut_widths) -> tuple[bilateral.Affinity, bilateral.Affinity]:
    """W and Ŵ, made once where their widths are the same."""
    crf = bilateral.affinity(image, sigma_position=widths[0], sigma_colour=widths[1])
    if cut_widths == (None, None):
        return crf, crf
    position, colour = (
        width if own is None else own for width, own in zip(widths, cut_widths, strict=True)
    )
    return crf, bilateral.affinity(image, sigma_position=position, sigma_colour=colour)

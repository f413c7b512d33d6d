"""Normalized cut: what each segment's border costs, as a share of all that holds it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies import dense_crf
from energynets.energies.potts import check_grid
from energynets.ops import bilateral
from energynets.ops.widths import positive_widths

Planes = Float[Array, "h w k"]

# A segment that holds less than this share of the picture counts as empty. 0.02 pixels at 128².
_LEAST = 1e-6


def _value_and_slope(
    affinity: bilateral.Affinity, probabilities: Planes, present: Float[Array, " k"] | None
) -> tuple[Array, Array]:
    attracted, degree = dense_crf.filtered(affinity, probabilities)
    if present is None:
        present = jnp.ones(probabilities.shape[-1], probabilities.dtype)
    within = (probabilities * attracted).sum((0, 1))
    volume = (probabilities * degree).sum((0, 1)) + _LEAST * degree.sum()
    value = (present * (1 - within / volume)).sum()
    slope = present * (within / volume * degree - 2 * attracted) / volume
    return value, slope


@jax.custom_jvp
def of_affinity(
    affinity: bilateral.Affinity,
    probabilities: Planes,
    present: Float[Array, " k"] | None = None,
) -> Float[Array, ""]:
    """`energy` with a W made before; derivatives with respect to W and `present` are not taken."""
    return _value_and_slope(affinity, probabilities, present)[0]


@of_affinity.defjvp
def _of_affinity_jvp(primals, tangents):
    value, slope = _value_and_slope(*primals)
    return value, (slope * tangents[1]).sum()


@positive_widths
@jax.jit
def energy(
    image: Float[Array, "h w c"],
    probabilities: Planes,
    *,
    sigma_position: bilateral.Sigma,
    sigma_colour: bilateral.Sigma,
    present: Float[Array, " k"] | None = None,
) -> Float[Array, ""]:
    """E(S) = Σ_k S_kᵀ W (1 - S_k) / dᵀS_k with d = W1, summed over labels; in [0, K].

    Stated as Σ_k (1 - S_kᵀ W S_k / (dᵀS_k + 1e-6 dᵀ1)): the same but for segments of less than
    about a millionth of the picture. There the printed form is 0/0; this one costs 1, the limit of
    a segment that fades away evenly, and has slope 0.

    Args:
        image: any number of channels.
        probabilities: S, in [0, 1].
        sigma_position: σ_xy of W in pixels.
        sigma_colour: σ_I of W in units of the image.
        present: K numbers, 1 for labels that count and 0 for those known to be absent; all by
            default.

    Image, widths and `present` are constants: derivatives with respect to them are 0.

    Raises:
        ValueError: if image and probabilities do not lie on one grid or are not floating point, or
            a width is not above 0.

    Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", Eq. 5, and
    for the derivative, S_kᵀWS_k d/(dᵀS_k)² - 2WS_k/(dᵀS_k), Eq. 12.
    """
    check_grid(image, probabilities)
    affinity = bilateral.affinity(image, sigma_position=sigma_position, sigma_colour=sigma_colour)
    return of_affinity(affinity, probabilities, present)

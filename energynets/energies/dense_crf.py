"""The energy of a dense conditional random field, every pixel paired with every other.

Published weights
-----------------
`per_pixel` divides by 1ᵀW1, so that one weight serves all sizes and widths. A published loss is a
weight w times the plain sum, filtered by the permutohedral lattice, which keeps a share of 0.57 to
0.63 of the exact mass (four photographs at 320×320, `benchmarks/filtering.py`). The same gradient
is had with w · 0.6 for `energy`, and with w · 0.6 · 1ᵀW1 for `per_pixel`, where 1ᵀW1 is `mass` at
the size at which the published loss was taken:

| source | w | pixels / levels of 255 | side | 1ᵀW1 | weight of `per_pixel` |
|---|---|---|---|---|---|
| Tang et al., PyTorch code | 2e-9 | 100 / 15, halved to 50 / 15 | 257, half of 513 | 1.4e8 | 2.0 |
| Tang et al., Caffe, largeFOV, VGG16 | 1e-8 | 100 / 15 | 321 | 5.3e8 | 3.2 |
| Tang et al., Caffe, ResNet-101 | 1e-8 | 80 / 13 | 321 | 3.7e8 | 2.2 |
| RRM and its successors | 1e-7 | 100 / 15, halved to 50 / 15 | 161 (assumed) | 3.3e7 | 2.0 |

1ᵀW1 is the geometric mean over astronaut, chelsea, coffee and rocket of scikit-image; single
pictures lie within a factor of 2.2 of it. The weights are those beside a cross entropy that is a
mean over labelled pixels; beside a sum over them, multiply by their number. The first row has a
factor of 12 more: that code divides the mean by its batch size of 12 once again, which it does not
do with the dense CRF, a mean over pictures.

The widths are given as sigma_position in pixels of the image at hand and sigma_colour in its
units: 80 and 13 on a picture of 320 pixels are `sigma_position=80 * side / 320` and
`sigma_colour=13 / 255` on one of another size in [0, 1].
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.potts import check_grid
from energynets.ops import bilateral
from energynets.ops.widths import positive_widths

Planes = Float[Array, "h w k"]
Scalar = float | Float[Array, ""]


def filtered(
    affinity: bilateral.Affinity, probabilities: Planes
) -> tuple[Planes, Float[Array, "h w 1"]]:
    """W S and the degree W1, by one filtering."""
    ones = jnp.ones_like(probabilities[..., :1])
    both = bilateral.apply(affinity, jnp.concatenate([probabilities, ones], -1))
    return both[..., :-1], both[..., -1:]


def _value_slope_mass(
    affinity: bilateral.Affinity, probabilities: Planes
) -> tuple[Array, Array, Array]:
    """Σ_k S_kᵀ W (1 - S_k), its derivative W1 - 2 W S_k, and 1ᵀW1."""
    attracted, degree = filtered(affinity, probabilities)
    value = (probabilities * (degree - attracted)).sum()
    return value, degree - 2 * attracted, degree.sum()


@jax.custom_jvp
def of_affinity(affinity: bilateral.Affinity, probabilities: Planes) -> Float[Array, ""]:
    """`energy` with a W made before; derivatives with respect to W are not taken."""
    return _value_slope_mass(affinity, probabilities)[0]


@of_affinity.defjvp
def _of_affinity_jvp(primals, tangents):
    # Filters once for value and derivative; the transpose of a filtering would be a second one.
    value, slope, _ = _value_slope_mass(*primals)
    return value, (slope * tangents[1]).sum()


@jax.custom_jvp
def share_of_affinity(affinity: bilateral.Affinity, probabilities: Planes) -> Float[Array, ""]:
    """`per_pixel` with a W made before; derivatives with respect to W are not taken."""
    value, _, mass = _value_slope_mass(affinity, probabilities)
    return value / mass


@share_of_affinity.defjvp
def _share_of_affinity_jvp(primals, tangents):
    value, slope, mass = _value_slope_mass(*primals)
    return value / mass, (slope * tangents[1]).sum() / mass


@positive_widths
@jax.jit
def energy(
    image: Float[Array, "h w c"],
    probabilities: Planes,
    *,
    sigma_position: bilateral.Sigma,
    sigma_colour: bilateral.Sigma,
) -> Float[Array, ""]:
    """E(S) = Σ_k S_kᵀ W (1 - S_k), summed over ordered pairs of pixels and over labels.

    W_pq = exp(-|p - q|²/2σ_xy² - |I_p - I_q|²/2σ_I²), W_pp = 1 included, filtered to within 2 %
    by `ops.bilateral`. For S in [0, 1] not negative, up to the error of W; 0 for one certain label
    everywhere; for certain segments the weight of all pairs that are parted, in both orders.

    Args:
        image: any number of channels.
        probabilities: S, in [0, 1].
        sigma_position: σ_xy in pixels.
        sigma_colour: σ_I in units of the image.

    Image and widths are constants: derivatives with respect to them are 0.

    Raises:
        ValueError: if image and probabilities do not lie on one grid or are not floating point, or
            a width is not above 0.

    Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", Eq. 4. The
    derivative is W1 - 2 W S_k; Eq. 11 leaves out W1, which a softmax does not feel. The authors'
    code also leaves the constant out of the value, which makes it negative, and divides by the
    number of pictures in the batch.
    """
    check_grid(image, probabilities)
    affinity = bilateral.affinity(image, sigma_position=sigma_position, sigma_colour=sigma_colour)
    return of_affinity(affinity, probabilities)


@positive_widths
@jax.jit
def per_pixel(
    image: Float[Array, "h w c"],
    probabilities: Planes,
    *,
    sigma_position: bilateral.Sigma,
    sigma_colour: bilateral.Sigma,
) -> Float[Array, ""]:
    """`energy` over 1ᵀW1: the share of all affinity that is cut, in [0, 1] on the simplex.

    A mean over pixels, weighted by their degrees, so that one weight serves all sizes and widths.
    """
    check_grid(image, probabilities)
    affinity = bilateral.affinity(image, sigma_position=sigma_position, sigma_colour=sigma_colour)
    return share_of_affinity(affinity, probabilities)


@positive_widths
@jax.jit
def mass(
    image: Float[Array, "h w c"],
    *,
    sigma_position: bilateral.Sigma,
    sigma_colour: bilateral.Sigma,
) -> Float[Array, ""]:
    """1ᵀW1, by which `energy` and `per_pixel` differ."""
    affinity = bilateral.affinity(image, sigma_position=sigma_position, sigma_colour=sigma_colour)
    return bilateral.apply(affinity, jnp.ones((*image.shape[:2], 1), image.dtype)).sum()

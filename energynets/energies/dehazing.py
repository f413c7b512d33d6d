"""The dehazing energy of the dark channel prior, and the steps around it.

Haze is I = t J + (1 - t) A: the clear picture J, dimmed by the transmission t, and the colour A of
the air in its place. `dark_channel`, `airlight` and `coarse_transmission` give a first t from the
picture alone, `energy` asks for one near it that follows the picture's edges, and `recovery` gives
J. Source: He, Sun, Tang, "Single Image Haze Removal Using Dark Channel Prior"; Golts, Freedman,
Elad, "Deep Energy", which trains on the energy.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.matting import smoothness

Scalar = float | Float[Array, ""]

# What an entry of the airlight counts as at least when a picture is divided by it: one grey level
# of 8 bits. Air darker than that cannot be seen, and 0 would give 0 / 0 in a black picture.
LEAST_AIRLIGHT = 1 / 255


class Hazy(NamedTuple):
    """A picture and a first guess of how much of its light came through the haze.

    image: H×W×C, any number of channels, values in [0, 1].
    coarse: H×W, `coarse_transmission` or any other guess, in [0, 1] or near it.
    """

    image: Float[Array, "h w c"]
    coarse: Float[Array, "h w"]


@functools.partial(jax.jit, static_argnames="radius")
def dark_channel(image: Float[Array, "h w c"], *, radius: int = 7) -> Float[Array, "h w"]:
    """d_i = min over c and over the pixels j of the patch around i of I_jc.

    In the range of `image`. Patches have (2r+1)² pixels, 15×15 by default, and end at the border
    of the picture, which for a minimum is the same as continuing it by mirroring or by its edge.
    Differentiable; where several pixels are darkest, one of them takes the derivative.

    Raises:
        ValueError: if the radius is negative.

    Source: He, Sun, Tang, Eq. 5; "Deep Energy", Sec. V-C.
    """
    if radius < 0:
        raise ValueError(f"radius must be 0 or more, got {radius}")
    side, darkest = 2 * radius + 1, image.min(-1)
    for window in ((side, 1), (1, side)):  # the minimum over a square is that over its rows' minima
        darkest = jax.lax.reduce_window(darkest, jnp.inf, jax.lax.min, window, (1, 1), "SAME")
    return darkest


@functools.partial(jax.jit, static_argnames=("way", "share"))
def airlight(
    image: Float[Array, "h w c"],
    dark: Float[Array, "h w"],
    *,
    way: Literal["brightest", "maximum", "mean"] = "brightest",
    share: float = 1e-3,
) -> Float[Array, " c"]:
    """A, the colour of the air: C values in the range of `image`, from its haziest pixels.

    Those are the share of the pixels, at least one, whose dark channel is highest; of equal ones
    the first in reading order. Then, by `way`:

    - "brightest": the colour of the one whose sum over channels is highest. The text of "Deep
      Energy" (Sec. V-C) and of He, Sun, Tang (Sec. 4.3).
    - "maximum": the maximum over them in each channel by itself. The code of "Deep Energy"; never
      darker than the first, and perhaps of a colour that no pixel has.
    - "mean": their mean, as many programs do; less moved by a lamp or by noise.

    Args:
        image: H×W×C in [0, 1].
        dark: H×W, the dark channel of `image`.
        way: see above; static.
        share: of the pixels, above 0 and at most 1; static. The papers take 0.1 %.

    Raises:
        ValueError: if the picture and its dark channel differ in size, or for another way or share.
    """
    if image.shape[:2] != dark.shape:
        raise ValueError(f"image H×W×C and dark H×W must agree, got {image.shape}, {dark.shape}")
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    count = max(1, int(share * dark.size))
    _, places = jax.lax.top_k(dark.ravel(), count)
    colours = image.reshape(-1, image.shape[-1])[places]
    if way == "brightest":
        return colours[colours.sum(-1).argmax()]
    if way == "maximum":
        return colours.max(0)
    if way == "mean":
        return colours.mean(0)
    raise ValueError(f"way must be brightest, maximum or mean, got {way!r}")


@functools.partial(jax.jit, static_argnames="radius")
def coarse_transmission(
    image: Float[Array, "h w c"],
    air: Float[Array, " c"],
    *,
    omega: Scalar = 0.95,
    radius: int = 7,
) -> Float[Array, "h w"]:
    """t̃ = 1 - ω dark(I / A): how much light came through, were clear patches black somewhere.

    At most 1, and at least 1 - ω where the picture is nowhere brighter than the air. Not clipped:
    below 0 where a whole patch outshines the air. Entries of A count as `LEAST_AIRLIGHT` at least,
    so that a black picture has t̃ = 1.

    Args:
        image: H×W×C in [0, 1].
        air: A, one value a channel.
        omega: ω, in [0, 1]: a little haze is left where it is below 1, which tells far from near.
        radius: of the patches, static; see `dark_channel`.

    Raises:
        ValueError: if the airlight has not one value a channel.

    Source: He, Sun, Tang, Eq. 12.
    """
    _one_a_channel(image, air)
    return 1 - omega * dark_channel(image / jnp.maximum(air, LEAST_AIRLIGHT), radius=radius)


@functools.partial(jax.jit, static_argnames=("radius", "share"))
def veil_transmission(
    image: Float[Array, "h w c"],
    air: Float[Array, " c"],
    *,
    omega: Scalar = 0.9,
    excess: Scalar = 0.5,
    share: float = 0.05,
    radius: int = 7,
) -> Float[Array, "h w"]:
    """t̃ = 1 - ω v - ω' (d - v), with d = dark(I / A) and v the quantile of d at `share`.

    v is the veil that lies before the whole picture, since even its darkest parts have it: of that
    the share ω is taken away. What a patch has beyond it may be more haze or something bright, a
    wall or the sky, and the dark channel cannot tell which: of that only the share ω' is. With
    ω' = ω it is `coarse_transmission`. Not clipped. Ours, not of the papers.

    Args:
        image: H×W×C in [0, 1].
        air: A, one value a channel.
        omega: ω, in [0, 1].
        excess: ω', in [0, 1].
        share: of the pixels that have less than the veil, in [0, 1]; static.
        radius: of the patches, static; see `dark_channel`.

    Raises:
        ValueError: if the airlight has not one value a channel, or for another share.
    """
    _one_a_channel(image, air)
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
    dark = dark_channel(image / jnp.maximum(air, LEAST_AIRLIGHT), radius=radius)
    veil = jnp.quantile(dark, share)
    return 1 - omega * veil - excess * (dark - veil)


@functools.partial(jax.jit, static_argnames="radius")
def energy(
    inputs: Hazy,
    transmission: Float[Array, "h w"],
    *,
    data_weight: Scalar = 1e-4,
    epsilon: Scalar = 1e-6,
    radius: int = 1,
) -> Float[Array, ""]:
    """E(t) = tᵀLt + λ |t - t̃|², summed over pixels.

    L is the matting Laplacian of the picture, see `energies.matting.smoothness`: t follows the
    edges of the picture, which the coarse transmission does by patches only. Non-negative.

    Args:
        inputs: image H×W×C in [0, 1] and coarse transmission t̃, H×W.
        transmission: t, H×W. Nothing constrains its range.
        data_weight: λ, at least 0.
        epsilon: in squared units of colour in [0, 1], above 0; see `smoothness`.
        radius: of the windows of L in pixels, static; that of the patches is another.

    Raises:
        ValueError: if image, coarse and transmission do not lie on the same grid, or if the
            radius is below 1.

    Source: He, Sun, Tang, Eq. 13; "Deep Energy", Sec. V-C.
    """
    image, coarse = inputs
    if coarse.shape != transmission.shape:
        raise ValueError(
            "coarse and transmission must be H×W on the same grid, got "
            f"{coarse.shape} and {transmission.shape}"
        )
    smooth = smoothness(image, transmission, epsilon=epsilon, radius=radius)
    return smooth + data_weight * jnp.square(transmission - coarse).sum()


@jax.jit
def recovery(
    image: Float[Array, "h w c"],
    transmission: Float[Array, "h w"],
    air: Float[Array, " c"],
    *,
    least: Scalar = 0.1,
) -> Float[Array, "h w c"]:
    """J = (I - A) / max(t, t₀) + A, the picture without haze.

    Not clipped, since rules differ on what to do with values outside [0, 1]: clip them, or stretch
    the whole (`metrics.restoration.stretch`).

    Args:
        image: H×W×C in [0, 1].
        transmission: t, H×W.
        air: A, one value a channel.
        least: t₀, above 0: nearly opaque haze holds nothing but noise.

    Raises:
        ValueError: if image and transmission do not lie on the same grid, or the airlight has not
            one value a channel.

    Source: He, Sun, Tang, Eq. 16.
    """
    _one_a_channel(image, air)
    if image.shape[:2] != transmission.shape:
        raise ValueError(
            "image H×W×C and transmission H×W must agree, got "
            f"{image.shape} and {transmission.shape}"
        )
    return (image - air) / jnp.maximum(transmission, least)[..., None] + air


def _one_a_channel(image: Array, air: Array) -> None:
    if air.shape != image.shape[-1:]:
        raise ValueError(f"air must have one value a channel, got {air.shape} for {image.shape}")

"""From an image, and perhaps a first guess, to one plane between 0 and 1."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.networks.dilated import Dilated
from energynets.networks.pyramid import Pyramid, PyramidFeatures


class Transmission(nn.Module):
    """How much of the light came through the haze: the sigmoid of a trunk's only score.

    It sees the picture alone, as in "Deep Energy"; the coarse transmission may be given and is not
    looked at. There the scores are linear and may leave [0, 1]; these cannot.
    """

    trunk: Dilated | Pyramid

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return self.trunk.least_size

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        coarse: Float[Array, "b h w"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b h w"]:
        del coarse
        return jax.nn.sigmoid(self.trunk(image, train)[..., 0].astype(jnp.float32))


class Refinement(nn.Module):
    """The coarse transmission brought to the picture's edges: t = a·(I - ½) + b + mean of t̃.

    The slopes a, C planes, and the offset b come from a pyramid that sees picture and coarse
    transmission. They, and the mean of t̃ over blocks of 2^`LEVEL` pixels a side, are known at that
    level only, and linear between its pixels. So t is locally an affine function of colour, which
    is what the matting Laplacian asks of it (Levin, Lischinski, Weiss, "A Closed-Form Solution to
    Natural Image Matting"); free scores of each pixel would have to learn that first. Nothing
    keeps t in [0, 1].

    Attributes:
        widths: of the pyramid, more than `LEVEL` of them.
        dtype: of the convolutions; parameters stay float32.
    """

    widths: tuple[int, ...] = (16, 32, 64, 96, 96)
    dtype: Any = jnp.float32

    LEVEL = 3

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return 1

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], coarse: Float[Array, "b h w"], *, train: bool
    ) -> Float[Array, "b h w"]:
        del train
        height, width, channels = image.shape[1:]
        step = 2 ** (len(self.widths) - 1)
        margins = (0, 0), (0, -height % step), (0, -width % step), (0, 0)
        seen = jnp.concatenate([image - 0.5, coarse[..., None]], -1)
        padded = jnp.pad(seen, margins, "edge")
        level = min(self.LEVEL, len(self.widths) - 1)
        features = PyramidFeatures(self.widths, self.dtype)(padded)[level]
        found = nn.Conv(channels + 1, (1, 1), kernel_init=nn.initializers.normal(0.01))(features)
        side = (2**level, 2**level)
        means = nn.avg_pool(padded[..., -1:], side, side)
        found = found.astype(jnp.float32) + jnp.pad(means, [(0, 0)] * 3 + [(channels, 0)])
        found = jax.image.resize(found, (*padded.shape[:3], channels + 1), "linear")
        t = (found[..., :-1] * padded[..., :-1]).sum(-1) + found[..., -1]
        return t[:, :height, :width]

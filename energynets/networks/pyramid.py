"""A network of several scales: far fewer operations than the dilated cascade, the whole view."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class PyramidFeatures(nn.Module):
    """Features at every level of a pyramid, the finest first, each knowing those below.

    Level l works at 1/2^l of the resolution and is `widths[l]` wide: one residual block of two
    3×3 convolutions on the way down and one on the way up, where the level's own features are
    added to those from below. Group norm, hence independent of the batch. Height and width are
    multiples of 2^(levels - 1).

    Attributes:
        widths: channels of each level, the finest first; multiples of 8.
        dtype: of the computation; parameters stay float32.
    """

    widths: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> list[Float[Array, "b _ _ _"]]:
        hidden = self._conv(self.widths[0])(image)
        levels = []
        for level, channels in enumerate(self.widths):
            if level:
                hidden = nn.Conv(channels, (2, 2), strides=2, dtype=self.dtype)(hidden)
            hidden = self._block(hidden)
            levels.append(hidden)
        for level, features in reversed(list(enumerate(levels[:-1]))):
            hidden = nn.Conv(features.shape[-1], (1, 1), dtype=self.dtype)(hidden)
            hidden = self._block(jnp.repeat(jnp.repeat(hidden, 2, 1), 2, 2) + features)
            levels[level] = hidden
        return levels

    def _conv(self, channels: int) -> nn.Conv:
        return nn.Conv(channels, (3, 3), dtype=self.dtype)

    def _block(self, x: Array) -> Array:
        channels = x.shape[-1]
        # Two channels a group at least: a norm of one alone takes the convolution's bias away, and
        # Adam makes the rounding noise that is then its gradient as large as any other.
        groups = min(8, channels // 2)
        inner = nn.relu(nn.GroupNorm(groups, dtype=self.dtype)(self._conv(channels)(x)))
        inner = nn.GroupNorm(groups, dtype=self.dtype)(self._conv(channels)(inner))
        return nn.relu(x + inner)


class Pyramid(nn.Module):
    """Image to scores at full resolution by `PyramidFeatures`, without pooling them away.

    With five levels seeds reach every pixel of a 128×128 image, at a fifth of the operations of
    the dilated network. Any height and width: the image is continued by its border to a multiple
    of 2^(levels - 1).

    Attributes:
        out: channels of the result.
        widths, dtype: of `PyramidFeatures`.
    """

    out: int
    widths: tuple[int, ...] = (16, 32, 64, 96, 96)
    dtype: Any = jnp.float32

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return 1

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w out"]:
        del train
        height, width = image.shape[1:3]
        step = 2 ** (len(self.widths) - 1)
        margins = (0, 0), (0, -height % step), (0, -width % step), (0, 0)
        finest = PyramidFeatures(self.widths, self.dtype)(jnp.pad(image, margins, "edge"))[0]
        scores = nn.Conv(self.out, (1, 1), kernel_init=nn.initializers.normal(0.1))(finest)
        return scores[:, :height, :width]

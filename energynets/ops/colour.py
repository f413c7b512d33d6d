"""Colour as one channel."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Rec. 601 luma: what Pillow's mode "L" and most of classical vision call the grey level.
_LUMA = (0.299, 0.587, 0.114)


def grayscale(image: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w 1"]:
    """The grey level 0.299 R + 0.587 G + 0.114 B, in the range of `image`, as one channel.

    An image of one channel is returned as it is. Raises ValueError for 2 or more than 3 channels.
    """
    channels = image.shape[-1]
    if channels == 1:
        return image
    if channels != 3:
        raise ValueError(f"image must have 1 or 3 channels to become grey, got {channels}")
    return (image * jnp.asarray(_LUMA, image.dtype)).sum(-1, keepdims=True)

"""From an image alone to one plane between 0 and 1."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.networks.dilated import Dilated
from energynets.networks.pyramid import Pyramid


class Transmission(nn.Module):
    """How much of the light came through the haze: the sigmoid of a trunk's only score.

    "Deep Energy" has plain linear scores, which may leave [0, 1]; these cannot.
    """

    trunk: Dilated | Pyramid

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return self.trunk.least_size

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w"]:
        return jax.nn.sigmoid(self.trunk(image, train)[..., 0].astype(jnp.float32))

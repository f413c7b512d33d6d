"""From image and seed planes to probabilities over labels: two heads on any trunk."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.networks.dilated import Dilated
from energynets.networks.pyramid import Pyramid

Trunk = Dilated | Pyramid


class Classes(nn.Module):
    """A fixed number of labels: the seed planes beside the image, softmax over the scores.

    The paper's head. `trunk` gives one score for each of the K planes that it was built for.
    """

    trunk: Trunk

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return self.trunk.least_size

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], seeds: Float[Array, "b h w k"], *, train: bool
    ) -> Float[Array, "b h w k"]:
        scores = self.trunk(jnp.concatenate([seeds, image], -1), train)
        return jax.nn.softmax(scores.astype(jnp.float32))


class PerLabel(nn.Module):
    """Any number of labels: each label against all the others, weights shared over labels.

    For label l the trunk, of one score, sees the image, the seeds of l and the seeds of all other
    labels; softmax over l. Labels may be exchanged, and a label without any seed has probability
    0; where no label has one, all are equally probable.
    """

    trunk: Trunk

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return self.trunk.least_size

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], seeds: Float[Array, "b h w k"], *, train: bool
    ) -> Float[Array, "b h w k"]:
        count = seeds.shape[-1]
        own = jnp.moveaxis(seeds, -1, 1)  # b k h w
        others = own.sum(1, keepdims=True) - own
        pictures = jnp.broadcast_to(image[:, None], (*own.shape, image.shape[-1]))
        inputs = jnp.concatenate([pictures, own[..., None], others[..., None]], -1)
        scores = self.trunk(inputs.reshape(-1, *inputs.shape[2:]), train).astype(jnp.float32)
        scores = jnp.moveaxis(scores.reshape(-1, count, *scores.shape[1:3]), 1, -1)
        seeded = seeds.any((1, 2), keepdims=True)
        seeded = seeded | ~seeded.any(-1, keepdims=True)
        return jax.nn.softmax(scores, where=seeded)

"""A network that learns where labels may flow, and lets them flow until they rest."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from energynets.networks.pyramid import PyramidFeatures
from energynets.ops import block_tridiagonal

_LEVEL = 2  # of the pyramid, where pixels are matched with seeds: a quarter of the resolution
_CHANNELS = 32  # of what is matched
_AT_ONCE = 2**20  # scores of pixels against seeds that are held in memory together


class Propagation(nn.Module):
    """Image and seeds to probabilities: (L + S + P) y = S x + P p, solved exactly for each label.

    x are the seeds. The image decides all the rest: L, the Laplacian of a grid of learned
    conductances; S, how far each seed is trusted; P, how far p is, which says of every pixel what
    label the seeds that look like it have. A random walker that learned its weights and has
    learned priors. The convolutions look at the image once, however many labels there are. The
    labels only share the matrix, so they may be exchanged, y lies in [0, 1] and sums to 1; a
    softmax of its logarithm with a learned sharpness ends it. A label without any seed has
    probability 0 (and with no seeds at all, all are equal).

    Conductances are w exp(f) with the random walker's own w = exp(-beta |ΔI|²) + 1e-6 (beta is
    learned, from 1000) and f of the finest features of a pyramid, so that a fresh network stops
    where the colour changes. p is the mean of the seeds with weights exp(q·k - a d²), where
    q and k are features of pixel and seed at a quarter of the resolution, and d is how far
    they lie apart.

    Random walkers with priors: Grady, CVPR 2005. Learned conductances: Vernaza and Chandraker,
    CVPR 2017; Cerrone, Zeilmann and Hamprecht, CVPR 2019.

    Attributes:
        widths: channels of each level of the pyramid, the finest first; multiples of 8.
        dtype: of the convolutions; what flows is float32.
    """

    widths: tuple[int, ...] = (16, 32, 64, 96, 96)
    dtype: Any = jnp.float32

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return 1

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], seeds: Float[Array, "b h w k"], *, train: bool
    ) -> Float[Array, "b h w k"]:
        del train
        height, width = image.shape[1:3]
        step = 2 ** (len(self.widths) - 1)
        margins = (0, 0), (0, -height % step), (0, -width % step), (0, 0)
        picture, planes = jnp.pad(image, margins, "edge"), jnp.pad(seeds, margins)
        contrast = jnp.concatenate([_contrast(picture, 1), _contrast(picture, 2)], -1)
        marked = planes.any(-1, keepdims=True).astype(image.dtype)
        seen = jnp.concatenate([picture, contrast, marked], -1)
        levels = PyramidFeatures(self.widths, self.dtype, name="pyramid")(seen)

        seeded = seeds.any((1, 2), keepdims=True)
        seeded = seeded | ~seeded.any(-1, keepdims=True)
        prior = Prior(name="prior")(levels[min(_LEVEL, len(levels) - 1)], planes, seeded)
        prior = jax.image.resize(prior, planes.shape, "linear")[:, :height, :width]

        learned = nn.Conv(4, (3, 3), kernel_init=nn.initializers.normal(0.01), name="flow")
        beta = jnp.exp(self.param("beta", nn.initializers.constant(6.9), ()))
        known = jnp.log(jnp.exp(-beta * jnp.square(contrast / 10)) + 1e-6)
        right_and_down, level = (
            known[..., ::-1],
            jnp.broadcast_to(jnp.array([0, -7.5]), known.shape),
        )
        logs = learned(levels[0].astype(jnp.float32))
        logs = logs + jnp.concatenate([right_and_down, level], -1)
        maps = jnp.exp(jnp.clip(logs, -16, 8))[:, :height, :width]
        right, down, trust_seeds, trust_prior = jnp.moveaxis(maps, -1, 0)
        ground = trust_seeds * seeds.sum(-1) + trust_prior
        held = trust_seeds[..., None] * seeds + trust_prior[..., None] * prior
        value = jax.vmap(block_tridiagonal.solve)(ground, right[:, :, :-1], down[:, :-1], held)

        sharpness = jnp.exp(self.param("sharpness", nn.initializers.constant(0.3), ()))
        scores = sharpness * jnp.log(jnp.maximum(value, 0) + 1e-6)
        return jax.nn.softmax(scores, axis=-1, where=seeded)


class Prior(nn.Module):
    """Of each pixel of a coarse level, the mean over all seeds, by likeness and nearness.

    `features` have one row and column for every few of `planes`; the result has theirs. Where
    there are no seeds, every label in `seeded` is equally probable.
    """

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "b h w c"],
        planes: Float[Array, "b H W k"],
        seeded: Bool[Array, "b 1 1 k"],
    ) -> Float[Array, "b h w k"]:
        b, h, w, _ = features.shape
        side, labels = planes.shape[1] // h, planes.shape[-1]
        mass = planes.reshape(b, h, side, w, side, labels).sum((2, 4)).reshape(b, h * w, labels)
        features = features.astype(jnp.float32)
        asked = nn.Dense(_CHANNELS, name="asked")(features) / _CHANNELS**0.5
        # No bias: it would add the same to a pixel's likeness with every seed.
        told = nn.Dense(_CHANNELS, use_bias=False, name="told")(features).reshape(
            b, h * w, _CHANNELS
        )
        falloff = jnp.exp(self.param("falloff", nn.initializers.constant(2.0), ()))
        place = jnp.stack(jnp.mgrid[:h, :w], -1) / max(h, w)
        none = (mass.sum(-1) == 0)[:, None]

        def row(at: tuple[Array, Array]) -> Array:
            asked, place_of_row = at
            apart = jnp.square(place_of_row[:, None] - place.reshape(-1, 2)).sum(-1)
            scores = jnp.einsum("bpc,bqc->bpq", asked, told) - falloff * apart
            scores = jnp.where(none, -1e9, scores)
            likeness = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
            return jnp.einsum("bpq,bqk->bpk", likeness, mass)

        rows = asked.swapaxes(0, 1), place
        votes = jax.lax.map(row, rows, batch_size=max(1, _AT_ONCE // (h * w * w)))
        votes = votes.swapaxes(0, 1)
        total = votes.sum(-1, keepdims=True)
        equal = seeded / seeded.sum(-1, keepdims=True)
        return jnp.where(total > 0, votes / jnp.where(total > 0, total, 1), equal)


def _contrast(image: Array, axis: int) -> Array:
    """How far the colour is from that of the next pixel, times 10; 0 at the border."""
    difference = jnp.diff(image, axis=axis)
    distance = jnp.sqrt(jnp.square(difference).sum(-1, keepdims=True) + 1e-8)
    margins = [(0, 0)] * 4
    margins[axis] = (0, 1)
    return 10 * jnp.pad(distance, margins)

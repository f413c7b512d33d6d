"""A network that learns where labels may flow, and lets them flow from coarse to fine."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.networks.pyramid import PyramidFeatures


class Propagation(nn.Module):
    """Image and seeds to probabilities: learned conductances, then rounds of weighted means.

    A pyramid of convolutions looks at the image once, however many labels there are, and gives for
    every pixel of every level the conductance to its right and its lower neighbour, how far it
    trusts its own seeds, and how far the level below. Each label's seeds then spread by themselves,
    with these weights in common: from the coarsest level to the finest, `rounds` times a level,
    each pixel becomes the weighted mean of its neighbours, its seeds and what the coarser level
    said. Those are convex combinations, as in the exact solution, so that labels may be exchanged
    and stay probabilities; a softmax of their logarithms across labels, with a learned sharpness,
    ends it. A label without any seed has probability 0 (and with no seeds at all, all are equal).

    Attributes:
        widths: channels of each level of the pyramid, the finest first; multiples of 8.
        rounds: weighted means at each level.
        dtype: of the convolutions; what spreads is float32.
    """

    widths: tuple[int, ...] = (16, 32, 64, 96, 96)
    rounds: int = 8
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
        picture = jnp.pad(image, margins, "edge")
        known = jnp.moveaxis(jnp.pad(seeds, margins), -1, 1)  # b k h w: rows lie together
        seeded = known.any((2, 3), keepdims=True)
        seeded = seeded | ~seeded.any(1, keepdims=True)

        contrast = jnp.concatenate([_contrast(picture, 1), _contrast(picture, 2)], -1)
        marked = jnp.pad(seeds.any(-1, keepdims=True).astype(image.dtype), margins)
        seen = jnp.concatenate([picture, contrast, marked], -1)
        levels = PyramidFeatures(self.widths, self.dtype, name="pyramid")(seen)

        masses = [known]
        for _ in levels[1:]:
            masses.append(_pool(masses[-1]))
        value = jnp.where(seeded, 1 / seeded.sum(1, keepdims=True), 0.0)
        for level in reversed(range(len(levels))):
            maps = nn.Conv(4, (3, 3), name=f"weights_{level}")(levels[level].astype(jnp.float32))
            maps = jnp.exp(jnp.clip(maps, -12, 6)).transpose(3, 0, 1, 2)[:, :, None]  # 4 b 1 h w
            if level < len(levels) - 1:
                value = _enlarge(value)
            value = _spread(value, masses[level], *maps, rounds=self.rounds)
        sharpness = jnp.exp(self.param("sharpness", nn.initializers.constant(0.7), ()))
        scores = sharpness * jnp.log(jnp.maximum(value, 0) + 1e-6)
        probabilities = jax.nn.softmax(scores, axis=1, where=seeded)
        return jnp.moveaxis(probabilities, 1, -1)[:, :height, :width]


def _contrast(image: Array, axis: int) -> Array:
    """How far the colour is from that of the next pixel, times 10; 0 at the border."""
    difference = jnp.diff(image, axis=axis)
    distance = jnp.sqrt(jnp.square(difference).sum(-1, keepdims=True) + 1e-8)
    margins = [(0, 0)] * 4
    margins[axis] = (0, 1)
    return 10 * jnp.pad(distance, margins)


def _pool(planes: Array) -> Array:
    b, k, h, w = planes.shape
    return planes.reshape(b, k, h // 2, 2, w // 2, 2).sum((3, 5))


def _enlarge(planes: Array) -> Array:
    return jnp.repeat(jnp.repeat(planes, 2, 2), 2, 3)


def _spread(
    value: Array,
    mass: Array,
    right: Array,
    down: Array,
    trust_seeds: Array,
    trust_coarse: Array,
    *,
    rounds: int,
) -> Array:
    """`rounds` times the mean of neighbours, seeds and the first value, with these weights."""
    right, down = right[..., :, :-1], down[..., :-1, :]
    ends = (0, 0), (0, 0), (0, 0)
    to_right, to_left = jnp.pad(right, (*ends, (0, 1))), jnp.pad(right, (*ends, (1, 0)))
    below, above = (
        jnp.pad(down, (*ends[:2], (0, 1), (0, 0))),
        jnp.pad(down, (*ends[:2], (1, 0), (0, 0))),
    )
    value = jnp.broadcast_to(value, mass.shape)
    held = trust_seeds * mass + trust_coarse * value
    total = trust_seeds * mass.sum(1, keepdims=True) + trust_coarse
    total = total + to_left + to_right + above + below

    share = 1 / total

    def advance(y: Array, _: None) -> tuple[Array, None]:
        flow = to_right * jnp.roll(y, -1, 3) + to_left * jnp.roll(y, 1, 3)
        flow += below * jnp.roll(y, -1, 2) + above * jnp.roll(y, 1, 2)
        return share * (held + flow), None

    return jax.lax.scan(advance, value, None, length=rounds, unroll=8)[0]

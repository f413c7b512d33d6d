"""A network that learns where labels may flow, and lets them flow until they rest."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.networks.pyramid import PyramidFeatures
from energynets.solvers import block_tridiagonal

_FLOOR = 1e-6


class Propagation(nn.Module):
    widths: tuple[int, ...] = (16, 32, 64, 96, 96)
    match: int = 2
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
        known = jnp.pad(seeds, margins)
        seeded = seeds.any((1, 2), keepdims=True)
        seeded = seeded | ~seeded.any(-1, keepdims=True)

        contrast = jnp.concatenate([_contrast(picture, 1), _contrast(picture, 2)], -1)
        marked = known.any(-1, keepdims=True).astype(image.dtype)
        seen = jnp.concatenate([picture, contrast, marked], -1)
        levels = PyramidFeatures(self.widths, self.dtype, name="pyramid")(seen)

        prior = self._alike(levels[self.match].astype(jnp.float32), known, seeded)
        prior = jax.image.resize(prior, known.shape, "linear")

        maps = nn.Conv(4, (3, 3), name="flow", kernel_init=nn.initializers.normal(0.01))
        maps = maps(levels[0].astype(jnp.float32))[:, :height, :width]
        beta = jnp.exp(self.param("beta", nn.initializers.constant(6.9), ()))
        edges = jnp.log(jnp.exp(-beta / 100 * jnp.square(contrast)) + _FLOOR)[:, :height, :width]
        offsets = jnp.concatenate([edges[..., 1:], edges[..., :1], 0 * edges[..., :1], 0 * edges[..., :1] - 7.5], -1)
        right, down, trust, lean = jnp.moveaxis(jnp.exp(jnp.clip(maps + offsets, -16, 8)), -1, 0)
        total = trust * seeds.sum(-1) + lean
        held = trust[..., None] * seeds + lean[..., None] * prior[:, :height, :width]
        value = jax.vmap(_rest)(right[:, :, :-1], down[:, :-1], total, held)

        sharpness = jnp.exp(self.param("sharpness", nn.initializers.constant(0.3), ()))
        scores = sharpness * jnp.log(jnp.maximum(value, 0) + 1e-6)
        return jax.nn.softmax(scores, axis=-1, where=seeded)

    def _alike(self, features: Array, known: Array, seeded: Array) -> Array:
        """b h w k: each pixel's mean over all seeds, by how alike they look and how near they are."""
        b, h, w, c = features.shape
        k = known.shape[-1]
        scale = known.shape[1] // h
        mass = known.reshape(b, h, scale, w, scale, k).sum((2, 4)).reshape(b, h * w, k)
        ask = nn.Dense(32, name="ask")(features).reshape(b, h * w, 32)
        tell = nn.Dense(32, name="tell")(features).reshape(b, h * w, 32)
        near = jnp.exp(self.param("near", nn.initializers.constant(2.0), ()))
        rows, columns = jnp.mgrid[:h, :w].reshape(2, -1) / max(h, w)
        apart = jnp.square(rows[:, None] - rows) + jnp.square(columns[:, None] - columns)
        scores = jnp.einsum("bpc,bqc->bpq", ask, tell) / 32**0.5 - near * apart
        present = mass.sum(-1) > 0
        scores = jnp.where(present[:, None], scores, -1e9)
        share = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
        votes = jnp.einsum("bpq,bqk->bpk", share, mass)
        uniform = jnp.broadcast_to(seeded[:, 0] / seeded[:, 0].sum(-1, keepdims=True), votes.shape)
        total = votes.sum(-1, keepdims=True)
        votes = jnp.where(total > 0, votes / jnp.where(total > 0, total, 1), uniform)
        return votes.reshape(b, h, w, k)


def _rest(right: Array, down: Array, ground: Array, rhs: Array) -> Array:
    """The solution y of (L + ground) y = rhs."""

    def matvec(y: Array) -> Array:
        across = right[..., None] * (y[:, 1:] - y[:, :-1])
        along = down[..., None] * (y[1:] - y[:-1])
        y = ground[..., None] * y
        y = y - jnp.pad(across, ((0, 0), (0, 1), (0, 0))) + jnp.pad(across, ((0, 0), (1, 0), (0, 0)))
        return y - jnp.pad(along, ((0, 1), (0, 0), (0, 0))) + jnp.pad(along, ((1, 0), (0, 0), (0, 0)))

    system = jax.lax.stop_gradient((ground, right, down))
    wide = ground.shape[0] < ground.shape[1]
    if wide:
        system = system[0].T, system[2].T, system[1].T
    with jax.default_matmul_precision("highest"):
        factor = block_tridiagonal.factor(*system)

    def solve(_, b: Array) -> Array:
        with jax.default_matmul_precision("highest"):
            if wide:
                return block_tridiagonal.substitute(factor, b.swapaxes(0, 1)).swapaxes(0, 1)
            return block_tridiagonal.substitute(factor, b)

    return jax.lax.custom_linear_solve(matvec, rhs, solve, symmetric=True)


def _contrast(image: Array, axis: int) -> Array:
    """How far the colour is from that of the next pixel, times 10; 0 at the border."""
    difference = jnp.diff(image, axis=axis)
    distance = jnp.sqrt(jnp.square(difference).sum(-1, keepdims=True) + 1e-8)
    margins = [(0, 0)] * 4
    margins[axis] = (0, 1)
    return 10 * jnp.pad(distance, margins)

"""W f for W_pq = exp(-|p - q|²/2σ_xy² - |I_p - I_q|²/2σ_I²), all pixels with all pixels.

The Gaussian over position and colour ("bilateral kernel") of dense conditional random fields, not
normalised, W_pp = 1. Exact sums cost N² exponentials; here they cost 2·N·m + M², made of matrix
products, sorts and gathers alone, in memory that grows with N and not with N·m:

1. The pixels are ordered into `leaves` of equal size by repeated sorting along the direction in
   which position and colour, in units of σ, spread most.
2. In each leaf k-means chooses m landmarks Z, and the kernel is interpolated from them:
   K(X, X') ≈ C K(Z, Z') C'ᵀ with C = K(X, Z) (K(Z, Z) + ε)⁻¹ for every pair of leaves (Nyström,
   block by block). M, the number of all landmarks, grows as √N beyond 400² pixels, so that all
   work is linear in N. K(X, Z) is made anew whenever it is used: that takes less time than to
   keep it.
3. Interpolation loses mass: of a plane of ones, C makes s = C·1 ≤ 1. Half of what is lost (C is
   divided by √s) is given back to the landmarks, and 1 - s is added to the pixel's own weight.

The result is symmetric by construction. How near it is to the exact kernel depends on how many
distinct colours the picture has, hardly on its size; `benchmarks/filtering.py` measures it. What
is within 2 % of brute force on photographs is the sum over many pixels: a plane that is 1 on few
pixels of rare colours may be 5 % off.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from energynets.ops.widths import positive_widths

Sigma = float | Float[Array, ""] | Float[Array, " n"]

# Relative to the kernel's 1: keeps landmarks that coincide, as in a flat picture, independent.
_RIDGE = 1e-3
_KMEANS_ROUNDS = 2
# Pixels of each leaf that k-means looks at.
_SAMPLE = 320
# Rows of the kernel between landmarks in one round of the loop. Whole, it leaves the cache, and a
# CPU then takes ten times as long.
_ROWS = 512
# Leaves interpolated in one round, for the same reason; one alone would not fill two cores.
_LEAVES_AT_ONCE = 4
# Least share s that a pixel far from every landmark is taken to keep: no noise is made larger.
_LEAST_KEPT = 0.3


class Affinity(NamedTuple):
    """W of one picture, as `affinity` makes it; opaque but for `apply`."""

    order: Int[Array, "t p"]  # pixels of each leaf; h·w and more: none
    place: Int[Array, " h*w"]  # of each pixel in `order`, flat
    points: Float[Array, "t p d"]  # position and colour in units of σ
    landmarks: Float[Array, "t m d"]
    # (K(Z, Z) + ε)⁻¹; 1×0×0 where each pixel is its own landmark, so that nothing is interpolated
    inverse: Float[Array, "t m m"]


_product = functools.partial(jnp.matmul, precision="highest")


def _features(image: Array, sigma_position: Sigma, sigma_colour: Sigma) -> Array:
    """(row, column)/σ_xy and colour/σ_I of every pixel, (h·w)×(2 + c)."""
    height, width, channels = image.shape
    rows, columns = jnp.mgrid[:height, :width]
    position = jnp.stack([rows, columns], -1).astype(image.dtype) / jnp.asarray(sigma_position)
    features = jnp.concatenate([position, image / jnp.asarray(sigma_colour)], -1)
    # Near 0, so that squares keep their digits.
    return (features - features.mean((0, 1))).reshape(height * width, 2 + channels)


def _kernel(a: Array, b: Array) -> Array:
    """exp(-|a_i - b_j|²/2) for all i and j."""
    half = 0.5 * jnp.square(a).sum(-1)[..., :, None] + 0.5 * jnp.square(b).sum(-1)[..., None, :]
    product = jnp.einsum("...ic,...jc->...ij", a, b, precision="highest")
    return jnp.exp(jnp.minimum(product - half, 0))


def _along_spread(leaves: Array) -> Array:
    """Position of each point along the direction in which its leaf spreads most; t×p."""
    centred = leaves - leaves.mean(1, keepdims=True)
    covariance = jnp.einsum("tpa,tpb->tab", centred, centred)
    widest = jnp.argmax(jnp.diagonal(covariance, axis1=1, axis2=2), -1)
    direction = jax.nn.one_hot(widest, leaves.shape[-1], dtype=leaves.dtype)
    for _ in range(8):
        direction = jnp.einsum("tab,tb->ta", covariance, direction)
        direction /= jnp.linalg.norm(direction, axis=-1, keepdims=True) + 1e-30
    return jnp.einsum("tpa,ta->tp", centred, direction)


def _ordered(features: Array, splits: tuple[int, ...]) -> Array:
    """Indices of the points of prod(splits) equal leaves, t×p, compact in feature space."""
    order = jnp.arange(features.shape[0])[None]
    for split in splits:
        leaves, size = order.shape
        key = _along_spread(features[order])
        low, high = key.min(1, keepdims=True), key.max(1, keepdims=True)
        # Key and index in one integer: XLA sorts plain integers ten times as fast as pairs.
        bits = max(1, (size - 1).bit_length())
        scale = 2 ** (31 - bits) - 1
        rounded = ((key - low) / (high - low + 1e-30) * scale).astype(jnp.int32)
        rounded = jnp.clip(rounded, 0, scale)
        packed = (rounded << bits) | jnp.arange(size, dtype=jnp.int32)
        ranked = jnp.sort(packed, axis=-1, stable=False) & (2**bits - 1)
        order = jnp.take_along_axis(order, ranked, 1).reshape(leaves * split, size // split)
    return order


def _k_means(points: Array, count: int) -> Array:
    """`count` centres for each leaf, t×count×d; points that are ordered give a good start."""
    size = points.shape[1]
    points = points[:, :: max(1, size // _SAMPLE)]
    size = points.shape[1]
    centres = points[:, (2 * np.arange(count) + 1) * size // (2 * count)]
    for _ in range(_KMEANS_ROUNDS):
        # Landmarks before pixels: sums over the last axis but one are twice as fast on a CPU.
        near = jnp.einsum("tmc,tpc->tmp", centres, points, precision="highest")
        near -= 0.5 * jnp.square(centres).sum(-1)[..., None]
        member = (near >= near.max(1, keepdims=True)).astype(points.dtype)
        members = member.sum(-1)[..., None]
        mean = jnp.einsum("tmp,tpc->tmc", member, points) / jnp.maximum(members, 1)
        centres = jnp.where(members > 0, mean, centres)
    return centres


def _inverse(matrices: Array) -> Array:
    """Inverses of positive definite matrices, t×m×m, by Gauss-Jordan elimination.

    Elementwise and batched: LAPACK's triangular solves of so many small systems took a hundred
    times as long on a busy CPU.
    """
    place = jnp.arange(matrices.shape[-1])

    def step(k: Array, matrix: Array) -> Array:
        row = jax.lax.dynamic_slice_in_dim(matrix, k, 1, -2)
        column = jax.lax.dynamic_slice_in_dim(matrix, k, 1, -1)
        pivot = jax.lax.dynamic_slice_in_dim(row, k, 1, -1)
        here = place == k
        pivot_row = jnp.where(here, 1 / pivot, row / pivot)
        others = jnp.where(here, -column / pivot, matrix - column * row / pivot)
        return jnp.where(here[:, None], pivot_row, others)

    return jax.lax.fori_loop(0, matrices.shape[-1], step, matrices)


def default_splits(pixels: int) -> tuple[int, ...]:
    """Splits into 64 leaves up to 400² pixels, and into twice as many for every four times more.

    So errors do not grow with the picture, and the work between landmarks grows as the pixels do.
    """
    doublings = max(0, math.ceil(math.log(pixels / 400**2, 4)))
    return (8 * 2 ** (doublings // 2 + doublings % 2), 8 * 2 ** (doublings // 2))


@positive_widths
@functools.partial(jax.jit, static_argnames=("splits", "landmarks"))
def affinity(
    image: Float[Array, "h w c"],
    *,
    sigma_position: Sigma,
    sigma_colour: Sigma,
    splits: tuple[int, ...] | None = None,
    landmarks: int = 64,
) -> Affinity:
    """W of a picture, to be used by `apply` as often as one likes.

    Args:
        image: any number of channels, no channel included: then position alone counts.
        sigma_position: σ_xy in pixels, positive; one number, or one for rows and columns each.
        sigma_colour: σ_I in units of the image, so 13/255 for a published 13 and an image in
            [0, 1]; one number or one for each channel. Infinite: that channel does not count.
        splits: pixels are parted into prod(splits) leaves, static; `default_splits` if None.
        landmarks: m for each leaf, static. Pictures of no more than that many times m pixels are
            filtered exactly.

    Image and widths are constants: derivatives with respect to them are 0.

    Raises:
        ValueError: if the image is not H×W×C, has no pixel or is not floating point, or a width is
            not above 0.
    """
    if image.ndim != 3 or 0 in image.shape[:2]:
        raise ValueError(f"image must be H×W×C with at least one pixel, got {image.shape}")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image must be floating point, got {image.dtype}")
    features = jax.lax.stop_gradient(_features(image, sigma_position, sigma_colour))
    pixels = features.shape[0]
    splits = default_splits(pixels) if splits is None else splits
    count = math.prod(splits)
    if pixels <= count * landmarks:
        order, no_inverse = jnp.arange(pixels)[None], jnp.zeros((1, 0, 0), features.dtype)
        return Affinity(order, order[0], features[None], features[None], no_inverse)
    missing = -pixels % count
    features = jnp.concatenate([features, jnp.repeat(features[-1:], missing, 0)])
    order = _ordered(features, splits)
    points = features[order]
    chosen = _k_means(points, landmarks)
    inverse = _inverse(_kernel(chosen, chosen) + _RIDGE * jnp.eye(landmarks))
    here = jnp.arange(order.size, dtype=order.dtype)
    place = (
        jnp.zeros(pixels, order.dtype)
        .at[order.reshape(-1)]
        .set(here, mode="drop", unique_indices=True)
    )
    return Affinity(order, place, points, chosen, inverse)


def _between_landmarks(landmarks: Array, values: Array) -> Array:
    """K(Z, Z) values, some rows at a time."""
    count = landmarks.shape[0]
    padded = jnp.pad(landmarks, ((0, -count % _ROWS), (0, 0))).reshape(
        -1, _ROWS, *landmarks.shape[1:]
    )

    @jax.checkpoint
    def rows(some: Array) -> Array:
        return _product(_kernel(some, landmarks), values)

    return jax.lax.map(rows, padded).reshape(-1, values.shape[-1])[:count]


@jax.jit
def apply(affinity: Affinity, values: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
    """W f, plane by plane: Σ_q W_pq f_q, the pixel itself included with weight 1.

    Linear in `values` and symmetric: Σ g·(W f) = Σ f·(W g) up to rounding.

    Raises:
        ValueError: if `values` has another number of pixels than the picture.
    """
    order, place, points, landmarks, inverse = affinity
    height, width, planes = values.shape
    if height * width != place.size:
        raise ValueError(
            f"values must have as many pixels as the picture, {place.size}, got {height}×{width}"
        )
    flat = values.reshape(-1, planes)
    all_landmarks = landmarks.reshape(-1, landmarks.shape[-1])
    if not inverse.size:
        return _between_landmarks(all_landmarks, flat).reshape(values.shape)

    # Derivatives make the kernels anew as well: kept, they would take N·m and M² numbers.
    @jax.checkpoint
    def down(leaf: tuple[Array, ...]) -> tuple[Array, Array]:
        """D Cᵀ f of one leaf, and s."""
        pixels, of_leaf, of_landmarks, inverted = leaf
        kernel = _kernel(of_landmarks, of_leaf)
        kept = jnp.clip(_product(inverted.sum(-1), kernel), _LEAST_KEPT, 1)
        scaled = flat.at[pixels].get(mode="fill", fill_value=0) / jnp.sqrt(kept)[:, None]
        return _product(inverted, _product(kernel, scaled)), kept

    @jax.checkpoint
    def up(leaf: tuple[Array, ...]) -> Array:
        of_leaf, of_landmarks, inverted, kept, spread = leaf
        filtered = _product(_kernel(of_leaf, of_landmarks), _product(inverted, spread))
        return filtered / jnp.sqrt(kept)[:, None]

    by_leaf = functools.partial(jax.lax.map, batch_size=_LEAVES_AT_ONCE)
    gathered, kept = by_leaf(down, (order, points, landmarks, inverse))
    spread = _between_landmarks(all_landmarks, gathered.reshape(-1, planes))
    filtered = by_leaf(up, (points, landmarks, inverse, kept, spread.reshape(gathered.shape)))
    own = (1 - kept).reshape(-1)[place]
    return (filtered.reshape(-1, planes)[place] + own[:, None] * flat).reshape(values.shape)


@positive_widths
@jax.jit
def exact(
    image: Float[Array, "h w c"],
    values: Float[Array, "h w k"],
    *,
    sigma_position: Sigma,
    sigma_colour: Sigma,
) -> Float[Array, "h w k"]:
    """W f by brute force, N² exponentials, in memory linear in N; arguments as in `affinity`."""
    if image.shape[:2] != values.shape[:2]:
        raise ValueError(
            f"image H×W×C and values H×W×K must agree, got {image.shape} and {values.shape}"
        )
    features = jax.lax.stop_gradient(_features(image, sigma_position, sigma_colour))
    return _between_landmarks(features, values.reshape(-1, values.shape[-1])).reshape(values.shape)

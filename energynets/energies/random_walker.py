"""The random-walker energy: labels spread over a picture and stop where its colour changes."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from energynets.ops.grid import differences, neighbours, over_last
from energynets.seeded import Seeded

Scalar = float | Float[Array, ""]


def edge_weights(
    image: Float[Array, "h w c"], axis: int, *, beta: Scalar, floor: Scalar
) -> Float[Array, "..."]:
    """w_ij = exp(-beta |I_i - I_j|²) + floor, in [floor, 1 + floor], of neighbours along `axis`.

    The first pixel of the pair gives the position: weight [r, c] joins (r, c) and its next pixel
    along `axis`. The floor keeps a pixel that is cut off on all sides attached: in float32 the
    exponential is 0 once beta |ΔI|² exceeds 88, and the exact system is then singular.

    Source: Golts, Freedman, Elad, "Deep Energy", who have no floor.
    """
    # Channel by channel: a sum over the last axis takes 10 times as long on CPUs.
    channels = jnp.moveaxis(jnp.square(differences(image, axis)), -1, 0)
    return jnp.exp(-beta * sum(channels)) + floor


@jax.jit
def energy(
    inputs: Seeded,
    probabilities: Float[Array, "h w k"],
    *,
    beta: Scalar = 1000.0,
    seed_weight: Scalar = 1.0,
    floor: Scalar = 1e-6,
) -> Float[Array, ""]:
    """E(y) = yᵀLy + λ (y - x)ᵀQ(y - x), summed over pixels and labels.

    yᵀLy is the sum over neighbours of w_ij |y_i - y_j|², each pair counted once, with
    w_ij = exp(-beta |I_i - I_j|²) + floor; Q is the diagonal that is 1 where a label is
    seeded, one at most in a pixel, and x are the seeds. Non-negative, and 0 only for constants that
    agree with every seed. Other seeds than 0 and 1, or of several labels in a pixel, are weights:
    the second term is λ Σ_il x_il |y_i - e_l|², e_l being 1 for label l and 0 for the others.

    Args:
        inputs: image H×W×C in [0, 1] with any number of channels (one grey channel gives the
            preprint's energy), and H×W×K seed planes in {0, 1}.
        probabilities: H×W×K, y. Nothing constrains its range.
        beta: sharpness, per squared difference of colour in [0, 1].
        seed_weight: λ.
        floor: what is added to every weight; see `edge_weights`.

    Raises:
        ValueError: if image, seeds and probabilities do not lie on the same grid, or if seeds
            and probabilities differ in their number of labels.

    Source: Golts, Freedman, Elad, "Deep Energy", journal Eq. 13 to 15, where the ½ of Eq. 14 runs
    over ordered pairs; twice this is the preprint's Eq. 5, which lacks the ½. Differs from
    `skimage.segmentation.random_walker`: beta is not divided by the image's deviation, and seeds
    are soft, with weight λ.
    """
    image, seeds = inputs
    if seeds.shape != probabilities.shape or image.shape[:2] != probabilities.shape[:2]:
        raise ValueError(
            "image H×W×C, seeds H×W×K and probabilities H×W×K must agree, got "
            f"{image.shape}, {seeds.shape} and {probabilities.shape}"
        )
    dtype = jnp.result_type(image, seeds, probabilities)
    image, seeds = image.astype(dtype), seeds.astype(dtype)
    down, right = (
        jnp.pad(edge_weights(image, axis, beta=beta, floor=floor), ends)
        for axis, ends in ((0, ((0, 1), (0, 0))), (1, ((0, 0), (0, 1))))
    )
    planes = down, right, seed_weight * over_last(seeds), seed_weight * seeds, probabilities
    return _quadratic(*(jnp.asarray(plane, dtype) for plane in planes))


@jax.custom_jvp
def _quadratic(down: Array, right: Array, held: Array, seeds: Array, y: Array) -> Array:
    """Σ_i down_i |y_i - y_below|² + right_i |y_i - y_beside|² + Σ_l seeds_il |y_i - e_l|².

    Weights are H×W, those of edges that would leave the picture 0; held is Σ_l seeds_il.
    """
    # Wrapped, unlike the reads of the gradient: were they equal, XLA would do them once and keep
    # two copies of y, which takes three times as long as reading y again.
    terms = down[..., None] * jnp.square(y - neighbours(y, 0, 1, wrap=True))
    terms += right[..., None] * jnp.square(y - neighbours(y, 1, 1, wrap=True))
    terms += seeds * jnp.square(1 - y) + (held[..., None] - seeds) * jnp.square(y)
    return over_last(terms).sum()


def _quadratic_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """Written out, so that the gradient, 2 (Ly + Q(y - x)), is one pass that keeps nothing."""
    down, right, held, seeds, y = primals

    def of_weight(axis: int) -> Array:
        # The pair of a pixel and the one before it, at the place of the latter.
        pairs = over_last(jnp.square(y - neighbours(y, axis, -1, wrap=True)))
        return jnp.roll(pairs, -1, axis)

    def of_y() -> Array:
        flow = down[..., None] * (y - neighbours(y, 0, 1))
        flow += jnp.roll(down, 1, 0)[..., None] * (y - neighbours(y, 0, -1))
        flow += right[..., None] * (y - neighbours(y, 1, 1))
        flow += jnp.roll(right, 1, 1)[..., None] * (y - neighbours(y, 1, -1))
        return 2 * (flow + seeds * (y - 1) + (held[..., None] - seeds) * y)

    derivatives = (
        lambda: of_weight(0),
        lambda: of_weight(1),
        lambda: over_last(jnp.square(y)),
        lambda: 1 - 2 * y,
        of_y,
    )
    value = _quadratic(*primals)
    terms = [
        (derivative() * tangent).sum()
        for derivative, tangent in zip(derivatives, tangents, strict=True)
        if not isinstance(tangent, SymbolicZero)
    ]
    return value, sum(terms, jnp.zeros_like(value))


_quadratic.defjvp(_quadratic_jvp, symbolic_zeros=True)

"""Mean field for dense conditional random fields: post-processing, a layer, and proposals.

The field has two kernels between all pairs of pixels: a Gaussian over position and colour, filtered
by `ops.bilateral`, and a narrow one over position alone, a separable convolution.

    field = mean_field.field(image, sigma_position=80.0, sigma_colour=13 / 255)
    refined = mean_field.solve(field, log_probabilities, mean_field.potts(labels)).value

Everything is differentiable in scores and parameters, so that unrolled it is the layer of
"CRF-as-RNN" with trained weights and compatibilities. The field itself, image and widths, is a
constant.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.ops import bilateral, derivatives
from energynets.ops.widths import positive_widths
from energynets.solvers.solution import Solution

Planes = Float[Array, "h w k"]
Scalar = float | Float[Array, ""]


class Field(NamedTuple):
    """Both kernels of a picture, and 1/√degree of each by which they are made of like weight."""

    affinity: bilateral.Affinity
    taps: Float[Array, " n"]
    appearance_scale: Float[Array, "h w 1"]
    smoothness_scale: Float[Array, "h w 1"]


class Parameters(NamedTuple):
    """What a layer trains.

    appearance, smoothness: weights of the two kernels, one for each label.
    compatibility: μ_kl, the cost of label k beside label l.
    """

    appearance: Float[Array, " k"]
    smoothness: Float[Array, " k"]
    compatibility: Float[Array, "k k"]


def potts(labels: int, *, appearance: float = 4.0, smoothness: float = 3.0) -> Parameters:
    """Equal weights and μ_kl = [k ≠ l]: post-processing as it is used everywhere."""
    one = jnp.ones(labels)
    return Parameters(appearance * one, smoothness * one, 1 - jnp.eye(labels))


@positive_widths
@functools.partial(jax.jit, static_argnames=("radius", "splits", "landmarks"))
def field(
    image: Float[Array, "h w c"],
    *,
    sigma_position: bilateral.Sigma,
    sigma_colour: bilateral.Sigma,
    sigma_smooth: Scalar = 3.0,
    radius: int = 12,
    splits: tuple[int, ...] | None = None,
    landmarks: int = 64,
) -> Field:
    """The kernels of a picture.

    Args:
        image: any number of channels.
        sigma_position, sigma_colour: widths of the first kernel, as in `bilateral.affinity`.
        sigma_smooth: width of the second kernel in pixels.
        radius: where that is cut off, in pixels, static.
        splits, landmarks: how finely the first kernel is filtered, as in `bilateral.affinity`.

    Each kernel is normalised on both sides, D^-½ K D^-½, as public implementations of dense CRFs
    do, so that weights need not follow the size of the picture.
    """
    affinity = bilateral.affinity(
        image,
        sigma_position=sigma_position,
        sigma_colour=sigma_colour,
        splits=splits,
        landmarks=landmarks,
    )
    taps = jnp.exp(-0.5 * jnp.square(jnp.arange(-radius, radius + 1) / sigma_smooth))
    taps = taps.astype(image.dtype)
    ones = jnp.ones((*image.shape[:2], 1), image.dtype)
    wide, narrow = bilateral.apply(affinity, ones), _convolved(taps, ones)
    # A pixel's own weight is 1, so that the exact degree is never less.
    scales = (jnp.maximum(degree, 1) ** -0.5 for degree in (wide, narrow))
    return Field(affinity, taps, *scales)


def _convolved(taps: Array, planes: Planes) -> Planes:
    """Gaussian over position, nothing beyond the border."""
    radius = len(taps) // 2
    padded = jnp.pad(planes, ((radius, radius), (radius, radius), (0, 0)))
    height, width = planes.shape[:2]
    rows = derivatives.along(padded, 0, taps)
    return derivatives.along(rows, 1, taps)[radius : radius + height, radius : radius + width]


def _messages(field: Field, marginals: Planes, parameters: Parameters) -> Planes:
    """Σ_m w_m (K_m Q - the pixel's own part): what the others say, label by label."""

    def kernel(apply, scale):
        return scale * apply(scale * marginals) - jnp.square(scale) * marginals

    wide = kernel(functools.partial(bilateral.apply, field.affinity), field.appearance_scale)
    narrow = kernel(functools.partial(_convolved, field.taps), field.smoothness_scale)
    return parameters.appearance * wide + parameters.smoothness * narrow


def _refuse_negative(steps: int) -> None:
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")


@functools.partial(jax.jit, static_argnames="steps")
def solve(
    field: Field,
    scores: Planes,
    parameters: Parameters,
    *,
    steps: int = 10,
    tol: Scalar = 1e-3,
) -> Solution:
    """Mean-field marginals Q of P(x) ∝ exp(Σ_p scores_p(x_p) - Σ_m w_m Σ_pq K_m(p,q) μ(x_p, x_q)).

    Q ← softmax(scores - Σ_l μ_kl Σ_m w_ml K_m Q_l), all pixels at once, `steps` times from
    softmax(scores); pairs q ≠ p.

    Args:
        field: as `field` makes it.
        scores: H×W×K, logarithms of a network's probabilities, or its scores.
        parameters: `potts(K)` or trained ones.
        steps: static, not negative; 5 to 10 are usual.
        tol: `converged` when no marginal changed by more in the last step.

    `residual` is that largest change. Parallel steps can oscillate where the weights are large and
    kernels are not positive; then `converged` is False and `value` still lies on the simplex.

    Raises:
        ValueError: if scores are not of the field's picture, or scores and parameters differ in
            their number of labels, or steps are negative.

    Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
    Potentials"; unrolled as a layer by Zheng et al., "Conditional Random Fields as Recurrent
    Neural Networks".
    """
    _refuse_negative(steps)
    labels, grid = scores.shape[-1], field.appearance_scale.shape[:2]
    if scores.shape[:2] != grid:
        raise ValueError(
            f"scores must be {grid[0]}×{grid[1]}×K like the field's picture, got {scores.shape}"
        )
    if parameters.compatibility.shape != (labels, labels):
        raise ValueError(
            f"compatibility must be {labels}×{labels} for scores of {labels} labels, got "
            f"{parameters.compatibility.shape}"
        )

    def step(marginals: Planes, _: None) -> tuple[Planes, Array]:
        messages = _messages(field, marginals, parameters)
        cost = jnp.einsum("hwl,kl->hwk", messages, parameters.compatibility)
        following = jax.nn.softmax(scores - cost)
        return following, jnp.abs(following - marginals).max()

    marginals, changes = jax.lax.scan(step, jax.nn.softmax(scores), None, length=steps)
    residual = changes[-1] if steps else jnp.asarray(jnp.inf, scores.dtype)
    return Solution(marginals, residual, jnp.asarray(steps), residual <= tol)


@functools.partial(jax.jit, static_argnames="steps")
def propose(
    affinity: bilateral.Affinity,
    probabilities: Planes,
    seeds: Planes,
    *,
    weight: Scalar,
    steps: int = 10,
    tol: Scalar = 1e-3,
) -> Solution:
    """The proposal step of DenseCRF-ADM: X that lowers Σ H(X, S) - H(X) + λ R(X), seeds kept.

    R is `dense_crf.energy`, sums run over pixels without a seed, X is the seed where there is one.
    X ← softmax(log S + 2λ W X): each step minimises the objective with R, concave as W is positive
    semidefinite, replaced by its tangent, so that none raises it. The network is then trained by
    cross entropy on X, which is a constant there: `jax.lax.stop_gradient(solution.value)`.

    Args:
        affinity: W of the picture, not normalised, as `bilateral.affinity` makes it.
        probabilities: S, the network's, in [0, 1]; below 1e-7 they count as 1e-7.
        seeds: planes in {0, 1}.
        weight: λ of the plain sum R; for λ' of `dense_crf.per_pixel` beside a sum over pixels,
            λ'/`dense_crf.mass`.
        steps: static, not negative.
        tol: as in `solve`.

    Raises:
        ValueError: if probabilities and seeds differ in shape, or steps are negative.

    Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", Eq. 7
    to 10.
    """
    _refuse_negative(steps)
    if probabilities.shape != seeds.shape:
        raise ValueError(
            f"probabilities and seeds must agree, got {probabilities.shape} and {seeds.shape}"
        )
    scores = jnp.log(jnp.clip(probabilities, 1e-7))
    known = (seeds > 0).any(-1, keepdims=True)

    def step(proposal: Planes, _: None) -> tuple[Planes, Array]:
        following = jax.nn.softmax(scores + 2 * weight * bilateral.apply(affinity, proposal))
        following = jnp.where(known, seeds, following)
        return following, jnp.abs(following - proposal).max()

    start = jnp.where(known, seeds, jax.nn.softmax(scores))
    proposal, changes = jax.lax.scan(step, start, None, length=steps)
    residual = changes[-1] if steps else jnp.asarray(jnp.inf, scores.dtype)
    return Solution(proposal, residual, jnp.asarray(steps), residual <= tol)

"""Ridge regression of a plane on colours in every window, and pictures drawn by such fits.

In a small window alpha is nearly an affine function of colour (Levin, Lischinski, Weiss, "A
Closed-Form Solution to Natural Image Matting"). Fitted on a small picture and drawn on the large
one, that brings an answer to full size along the picture's own edges: the guided filter of He, Sun
and Tang (ECCV 2010), in the fast form of He and Sun (2015).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.ops import windows

Scalar = float | Float[Array, ""]
Planes = list[Array]

# Windows of 7×7 pixels; ε in squared units of colour in [0, 1], for the sum over a window.
RADIUS = 3
EPSILON = 1e-3


class Fit(NamedTuple):
    """α_i ≈ α_m + s·(I_i - I_m) + t in each window, m being its middle."""

    slope: Planes  # s: one plane over windows for each channel
    offset: Array  # t


def fit(colours: Planes, alpha: Array, epsilon: Array, radius: int) -> Fit:
    """The ridge regression of alpha on colour, (Σ d dᵀ + ε) s = Σ d a with d and a centred."""
    (*means, mean), total = windows.centred((*colours, alpha), radius)

    def products(both):
        *d, a = both
        return [[d[i] * d[j] for j in range(i + 1)] for i in range(len(d))], [x * a for x in d]

    gram, moments = total(products)
    factor = _factor(gram, epsilon)
    slope = _substitute(factor, moments)

    def remaining(both):
        *d, a = both
        residual = a - dot(slope, d)
        return [x * residual for x in d]

    # One refinement from the data itself: the sums of products have rounded away directions in
    # which colours hardly vary, and the gradient is up to 200 times less exact without it.
    left = [moment - epsilon * s for moment, s in zip(total(remaining), slope, strict=True)]
    slope = [s + step for s, step in zip(slope, _substitute(factor, left), strict=True)]
    return Fit(slope, mean - dot(slope, means))


def drawn(
    answer: Float[Array, "m n"],
    small: Float[Array, "m n c"],
    image: Float[Array, "h w c"],
    *,
    radius: int = RADIUS,
    epsilon: Scalar = EPSILON,
) -> Float[Array, "h w"]:
    """a·I + b at every pixel of `image`, a and b being what fits `answer` in windows of `small`.

    a and b at a small pixel are the means over all windows that hold it, and linear between small
    pixels. What is affine in the colours of all windows comes back as it is, up to ε |a|². Nothing
    is clipped. Where `small` is narrower than a window, `answer` enlarged linearly.

    Args:
        answer: known for the small picture.
        small: `image`, at any size; the same size filters `answer` only.
        radius: of the windows, in pixels of `small`, static.
        epsilon: above 0; the larger, the nearer to the mean of the window, and the blurrier.
    """
    if 0 in windows.count(answer.shape, radius):
        return jax.image.resize(answer, image.shape[:2], "linear")
    colours = windows.channels(small)
    found = fit(colours, answer, jnp.asarray(epsilon, answer.dtype), radius)
    middle, *middles = (windows.middles(plane, radius) for plane in (answer, *colours))
    intercept = middle + found.offset - dot(found.slope, middles)
    over_windows = [jnp.ones_like(middle), intercept, *found.slope]
    held = [windows.surrounded(plane, radius) for plane in over_windows]
    count, *sums = windows.accumulate(lambda at: [at(plane) for plane in held], radius)
    size = image.shape[:2]
    b, *a = (jax.image.resize(total / count, size, "linear") for total in sums)
    return b + dot(a, list(jnp.moveaxis(image, -1, 0)))


def dot(left: Planes, right: Planes) -> Array | float:
    """Σ left · right over channels; 0 without any."""
    return sum((a * b for a, b in zip(left, right, strict=True)), 0.0)


def _factor(gram: list[Planes], epsilon: Array) -> tuple[list[Planes], Planes]:
    """gram + ε = L D Lᵀ for each window, elementwise: L below the diagonal, and D."""
    lower, pivots = [], []
    for i, row in enumerate(gram):
        scaled, below = [], []
        for j in range(i):
            scaled.append(row[j] - sum(scaled[k] * lower[j][k] for k in range(j)))
            below.append(scaled[j] / pivots[j])
        pivot = row[i] + epsilon - sum(scaled[k] * below[k] for k in range(i))
        # No pivot is below ε but by rounding, so that this corrects the value alone.
        pivots.append(pivot + jax.lax.stop_gradient(jnp.maximum(pivot, epsilon) - pivot))
        lower.append(below)
    return lower, pivots


def _substitute(factor: tuple[list[Planes], Planes], rhs: Planes) -> Planes:
    lower, pivots = factor
    size = len(pivots)
    half = []
    for i in range(size):
        half.append(rhs[i] - sum(lower[i][k] * half[k] for k in range(i)))
    solution = {}
    for i in reversed(range(size)):
        known = sum(lower[k][i] * solution[k] for k in range(i + 1, size))
        solution[i] = half[i] / pivots[i] - known
    return [solution[i] for i in range(size)]

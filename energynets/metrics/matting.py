"""Errors of mattes, as sums and means over pixels, in NumPy on the host.

Source: Rhemann, Rother, Wang, Gelautz, Kohli, Rott, "A Perceptually Motivated Online Benchmark for
Image Matting" (CVPR 2009, alphamatting.com), with the constants of its evaluation: derivatives of a
Gaussian of σ = 1.4 and exponent 2 for the gradient error; steps of 0.1, θ = 0.15 and exponent 1 for
the connectivity error. The benchmark divides SAD, gradient and connectivity by 1000 for print;
these here are the plain sums.

Mattes lie in [0, 1]; what a solver or a network leaves outside is for the caller to clip.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Alpha = Float[np.ndarray, "h w"]
Region = Bool[np.ndarray, "h w"]

_SIGMA = 1.4
_STEPS = 10  # thresholds 0, 0.1, …, 1
_THETA = 0.15


def mse(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Mean of (α - α*)² over `region`, or over all pixels; nan over none."""
    squares = np.square(_within(np.asarray(alpha, float) - truth, region))
    return float(squares.mean()) if squares.size else float("nan")


def sad(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Σ |α - α*| over `region`, or over all pixels."""
    return float(np.abs(_within(np.asarray(alpha, float) - truth, region)).sum())


def gradient_error(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Σ (|∇α| - |∇α*|)² over `region`, or over all pixels: blur and wrong edges.

    ∇ are derivatives of a Gaussian of σ = 1.4, each filter scaled so that its squares sum to 1;
    mattes are continued by their border.
    """
    difference = _gradient(np.asarray(alpha, float)) - _gradient(np.asarray(truth, float))
    return float(np.square(_within(difference, region)).sum())


def connectivity_error(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Σ |φ(α) - φ(α*)| over `region`, or over all pixels: pieces that lost touch with the object.

    φ_i = 1 - d_i [d_i ≥ θ] with d_i = α_i - l_i, and l_i the highest threshold 0, 0.1, …, 1 up to
    which pixel i stays in the largest 4-connected region where both mattes reach the threshold.
    """
    alpha, truth = np.asarray(alpha, float), np.asarray(truth, float)
    level = np.full(alpha.shape, -1.0)
    for step in range(1, _STEPS + 1):
        both = np.minimum(alpha, truth) >= step / _STEPS
        lost = (level == -1) & ~_largest(both)
        level[lost] = (step - 1) / _STEPS
    level[level == -1] = 1

    def connection(matte: np.ndarray) -> np.ndarray:
        distance = matte - level
        return 1 - distance * (distance >= _THETA)

    return float(np.abs(_within(connection(alpha) - connection(truth), region)).sum())


SUMMARY = (
    "MSE unknown",
    "SAD unknown",
    "MSE all",
    "SAD all",
    "gradient unknown",
    "connectivity unknown",
)


def summary(alpha: Alpha, truth: Alpha, unknown: Region) -> dict[str, float]:
    """The scores named in `SUMMARY` of one matte, clipped to [0, 1] first."""
    alpha = np.clip(alpha, 0, 1)
    scores = (
        mse(alpha, truth, unknown),
        sad(alpha, truth, unknown),
        mse(alpha, truth),
        sad(alpha, truth),
        gradient_error(alpha, truth, unknown),
        connectivity_error(alpha, truth, unknown),
    )
    return dict(zip(SUMMARY, scores, strict=True))


def _within(values: np.ndarray, region: Region | None) -> np.ndarray:
    return values if region is None else values[region]


def _gradient(plane: np.ndarray) -> np.ndarray:
    """|∇| by derivatives of a Gaussian, cut off where it falls below 0.01, of unit norm."""
    reach = int(np.ceil(_SIGMA * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * _SIGMA * 0.01))))
    places = np.arange(-reach, reach + 1)
    bell = np.exp(-np.square(places / _SIGMA) / 2)
    slope = places * bell
    bell, slope = bell / np.linalg.norm(bell), slope / np.linalg.norm(slope)

    def filtered(down: np.ndarray, across: np.ndarray) -> np.ndarray:
        passed = ndimage.correlate1d(plane, down, 0, mode="nearest")
        return ndimage.correlate1d(passed, across, 1, mode="nearest")

    return np.hypot(filtered(slope, bell), filtered(bell, slope))


def _largest(region: np.ndarray) -> np.ndarray:
    numbered = np.zeros(region.shape, np.int32)
    if not ndimage.label(region, output=numbered):
        return region
    sizes = np.bincount(numbered.ravel())
    return numbered == sizes[1:].argmax() + 1

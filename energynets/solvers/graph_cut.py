"""Graph cuts on the host: smoothing of label maps by a grid's Potts energy, and GrabCut.

NumPy in and out, one picture, no derivative: masks that a network is trained on or compared with.
`expand` needs PyMaxflow and `grab_cut` OpenCV, both optional.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from energynets.errors import BadInputError


class Labelling(NamedTuple):
    """labels: H×W int, energy: E of them, sweeps: rounds over all labels, converged: the last
    round changed nothing."""

    labels: np.ndarray
    energy: float
    sweeps: int
    converged: bool


def needed(module: str, package: str, purpose: str) -> Any:
    """An optional module; BadInputError says what to install where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadInputError(
            f"{purpose} needs {package}, which is not installed: pip install {package}"
        ) from error


def contrast(image: np.ndarray, *, beta: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """exp(-beta |I_p - I_q|²) of neighbours below each other, (H-1)×W, and beside, H×(W-1).

    beta: None for 1/(2 mean |I_p - I_q|²) of the picture, GrabCut's choice.
    """
    squared = [np.square(np.diff(np.asarray(image, float), axis=axis)).sum(-1) for axis in (0, 1)]
    if beta is None:
        count = sum(part.size for part in squared)
        mean = sum(part.sum() for part in squared) / max(count, 1)
        beta = 1 / (2 * mean) if mean > 0 else 0.0
    down, right = (np.exp(-beta * part) for part in squared)
    return down, right


def energy(
    labels: np.ndarray, unary: np.ndarray, weights: tuple[np.ndarray, np.ndarray], smoothness: float
) -> float:
    """Σ_p U_p(x_p) + smoothness Σ_pq w_pq [x_p ≠ x_q], neighbours counted once."""
    chosen = np.take_along_axis(unary, labels[..., None], -1).sum()
    cut = (weights[0] * (np.diff(labels, axis=0) != 0)).sum()
    cut += (weights[1] * (np.diff(labels, axis=1) != 0)).sum()
    return float(chosen + smoothness * cut)


def _expanded(maxflow, labels, label, unary, weights, smoothness) -> np.ndarray:
    """The best labelling in which each pixel keeps its label or takes `label`."""
    graph = maxflow.Graph[float]()
    nodes = graph.add_grid_nodes(labels.shape)
    keep = np.take_along_axis(unary, labels[..., None], -1)[..., 0].astype(float)
    take = unary[..., label].astype(float)
    for axis, weight in enumerate(weights):
        first = (slice(None, -1), slice(None))[:: 1 if axis == 0 else -1]
        second = (slice(1, None), slice(None))[:: 1 if axis == 0 else -1]
        # A pair (p, q) costs a if both keep, b if p keeps and q takes, c if p takes and q keeps,
        # 0 if both take. That is a [p keeps] + (c - a) [p takes, q keeps ...]: written as
        # c [q keeps] + (a - c) [p keeps] + (b + c - a) [p keeps, q takes], whose last factor is
        # not negative since Potts' cost is a metric.
        cost = smoothness * weight
        a = cost * (labels[first] != labels[second])
        b, c = cost * (labels[first] != label), cost * (labels[second] != label)
        keep[second] += c
        keep[first] += a - c
        edges = np.stack([nodes[first].ravel(), nodes[second].ravel()])
        for p, q, capacity in zip(*edges, (b + c - a).ravel(), strict=True):
            graph.add_edge(p, q, max(capacity, 0.0), 0.0)
    # Source's side keeps: its nodes pay the edge to the sink, the others that from the source.
    floor = np.minimum(keep, take)
    graph.add_grid_tedges(nodes, take - floor, keep - floor)
    graph.maxflow()
    return np.where(graph.get_grid_segments(nodes), label, labels)


def expand(
    unary: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
    *,
    smoothness: float,
    sweeps: int = 5,
) -> Labelling:
    """Alpha expansion: labels x that nearly minimise `energy`; two labels exactly.

    Smoothing of a network's output is `expand(-log(probabilities), contrast(image), …)`; a seed is
    a unary cost of 0 for its label and of a large number for the others.

    Args:
        unary: H×W×K costs, finite.
        weights: of neighbours below and beside each other, not negative, as `contrast` makes them.
        smoothness: factor of the second sum, not negative.
        sweeps: at most so many rounds over the labels.

    Within a factor of 2 of the least energy for more than two labels.

    Raises:
        BadInputError: if PyMaxflow is missing, or an argument is not as above.

    Source: Boykov, Veksler, Zabih, "Fast Approximate Energy Minimization via Graph Cuts"; as
    post-processing ("MRF") in Javanmardi et al., Sec. 5.
    """
    unary = np.asarray(unary, float)
    if unary.ndim != 3 or not np.isfinite(unary).all():
        raise BadInputError(f"unary must be finite and H×W×K, got {unary.shape} or not finite")
    height, width, _ = unary.shape
    shapes = [np.shape(weight) for weight in weights]
    if shapes != [(height - 1, width), (height, width - 1)]:
        raise BadInputError(
            f"weights must be {height - 1}×{width} and {height}×{width - 1}, got {shapes}"
        )
    if smoothness < 0 or any((np.asarray(weight) < 0).any() for weight in weights):
        raise BadInputError("smoothness and weights must not be negative")
    maxflow = needed("maxflow", "PyMaxflow", "graph cut")

    def expanded(labels: np.ndarray, label: int) -> np.ndarray:
        return _expanded(maxflow, labels, label, unary, weights, smoothness)

    def measured(labels: np.ndarray) -> float:
        return energy(labels, unary, weights, smoothness)

    return sweep_labels(unary, expanded, measured, sweeps)


def sweep_labels(
    unary: np.ndarray,
    expanded: Callable[[np.ndarray, int], np.ndarray],
    measured: Callable[[np.ndarray], float],
    sweeps: int,
) -> Labelling:
    """Alpha expansion on any graph, from the labels of least unary cost, ...×K.

    Args:
        expanded: the best labelling in which each node keeps its label or takes the one given.
        measured: the energy of a labelling; only what lowers it is kept.
        sweeps: rounds over the labels at most; converged where one lowers it no more.
    """
    labels = unary.argmin(-1)
    best = measured(labels)
    for sweep in range(1, sweeps + 1):
        before = best
        for label in range(unary.shape[-1]):
            trial = expanded(labels, label)
            value = measured(trial)
            if value < best:
                labels, best = trial, value
        if best >= before - 1e-9 * max(1.0, abs(before)):
            return Labelling(labels, best, sweep, True)
    return Labelling(labels, best, sweeps, False)


def scribble_proposal(
    image: np.ndarray,
    probabilities: np.ndarray,
    seeds: np.ndarray,
    *,
    smoothness: float = 10.0,
    beta: float | None = None,
    sweeps: int = 5,
) -> Labelling:
    """ScribbleSup's proposal: the labelling nearest to the network that is smooth and keeps seeds.

    The unary cost is -log of the network's probability, a seed's own label is free and others are
    forbidden there. Alternate: train on the labels by cross entropy, predict, propose again. The
    original cuts superpixels; this one cuts pixels, with weights `contrast(image, beta=beta)`.

    Args:
        image: H×W×C.
        probabilities: H×W×K; uniform ones for the first round.
        seeds: H×W×K planes in {0, 1}.
        smoothness, sweeps: as in `expand`.

    Source: Lin et al., "ScribbleSup"; Tang et al., Sec. 4.2.
    """
    if probabilities.shape != seeds.shape or image.shape[:2] != seeds.shape[:2]:
        raise BadInputError(
            "image H×W×C, probabilities H×W×K and seeds H×W×K must agree, got "
            f"{image.shape}, {probabilities.shape} and {seeds.shape}"
        )
    unary = -np.log(np.clip(np.asarray(probabilities, float), 1e-7, 1))
    weights = contrast(image, beta=beta)
    # More than all that smoothness and other pixels could pay.
    most = unary.max(-1).sum() + smoothness * sum(weight.sum() for weight in weights) + 1
    known = (seeds > 0).any(-1, keepdims=True)
    unary = np.where(known, np.where(seeds > 0, 0.0, most), unary)
    return expand(unary, weights, smoothness=smoothness, sweeps=sweeps)


def grab_cut(image: np.ndarray, seeds: np.ndarray, *, rounds: int = 5) -> np.ndarray:
    """OpenCV's GrabCut of two labels from seeds, H×W of 0 and 1.

    Args:
        image: H×W×3 in [0, 1].
        seeds: H×W×2 planes in {0, 1}: background, foreground; some of each.
        rounds: of fitting colour models and cutting.

    Raises:
        BadInputError: if OpenCV is missing, or an argument is not as above.

    Source: Rother, Kolmogorov, Blake, "GrabCut".
    """
    if image.ndim != 3 or image.shape[2] != 3 or seeds.shape != (*image.shape[:2], 2):
        raise BadInputError(
            f"image must be H×W×3 and seeds H×W×2, got {image.shape} and {seeds.shape}"
        )
    if not (seeds > 0).any((0, 1)).all():
        raise BadInputError("seeds must have some pixels of background and some of foreground")
    cv2 = needed("cv2", "opencv-python-headless", "GrabCut")
    mask = np.full(image.shape[:2], cv2.GC_PR_BGD, np.uint8)
    mask[seeds[..., 0] > 0] = cv2.GC_BGD
    mask[seeds[..., 1] > 0] = cv2.GC_FGD
    # Where no seed is, colours alone decide; without "probable foreground" nothing would be.
    mask[mask == cv2.GC_PR_BGD] = cv2.GC_PR_FGD
    levels = np.ascontiguousarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8))
    models = np.zeros((2, 1, 65))
    cv2.grabCut(levels, mask, None, models[0], models[1], rounds, cv2.GC_INIT_WITH_MASK)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(int)

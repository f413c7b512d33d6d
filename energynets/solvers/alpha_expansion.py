"""Alpha expansion on any graph: labellings that nearly minimise a Potts energy.

NumPy in and out, on the host, no derivative; needs PyMaxflow, an extra.
"""

import importlib
from typing import Any, NamedTuple

import numpy as np

from energynets.errors import BadInputError


class Labelling(NamedTuple):
    """labels: of each node or pixel, int; energy: E of them, sweeps: rounds over all labels,
    converged: the last round changed nothing."""

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


def refuse_negative(name: str, values: np.ndarray | float) -> None:
    """Raises BadInputError unless all values are finite and not negative."""
    values = np.asarray(values, float)
    if not (np.isfinite(values) & (values >= 0)).all():
        bad = values[~(np.isfinite(values) & (values >= 0))].flat[0]
        raise BadInputError(f"{name} must be finite and not negative, got {bad:g}")


def energy(labels: np.ndarray, unary: np.ndarray, edges: np.ndarray, weights: np.ndarray) -> float:
    """E(y) = Σ_i U_i(y_i) + Σ_ij w_ij [y_i ≠ y_j], over nodes and edges."""
    chosen = unary[np.arange(len(labels)), labels].sum()
    return float(chosen + weights[labels[edges[:, 0]] != labels[edges[:, 1]]].sum())


def _expanded(maxflow, labels, label, unary, edges, weights) -> np.ndarray:
    """The best labelling in which each node keeps its label or takes `label`."""
    first, second = edges.T
    nodes = np.arange(len(labels))
    keep, take = unary[nodes, labels], unary[:, label].copy()
    # Both keep: a, only the second takes: b, only the first takes: c, both take: nothing. As
    # sums: c where the second keeps, a - c where the first does, b + c - a, not negative, where
    # the first alone keeps.
    a = weights * (labels[first] != labels[second])
    b, c = weights * (labels[first] != label), weights * (labels[second] != label)
    keep += np.bincount(second, c, len(labels)) + np.bincount(first, a - c, len(labels))
    graph = maxflow.Graph[float](len(labels), len(edges))
    graph.add_nodes(len(labels))
    graph.add_edges(first, second, np.maximum(b + c - a, 0), np.zeros(len(edges)))
    # Source's side keeps: its nodes pay the edge to the sink, the others that from the source.
    floor = np.minimum(keep, take)
    graph.add_grid_tedges(nodes, take - floor, keep - floor)
    graph.maxflow()
    return np.where(graph.get_grid_segments(nodes), label, labels)


def expand(
    unary: np.ndarray, edges: np.ndarray, weights: np.ndarray, *, sweeps: int = 5
) -> Labelling:
    """Labels y that nearly minimise `energy`, from those of least unary cost; two labels exactly.

    Within a factor of 2 of the least energy for more than two labels and costs not negative.

    Args:
        unary: S×K costs, finite, of one label or more.
        edges: E×2 nodes, 0 to S - 1; weights: E, finite and not negative.
        sweeps: at most so many rounds over the labels.

    Raises:
        BadInputError: if PyMaxflow is missing, or an argument is not as above.

    Source: Boykov, Veksler, Zabih, "Fast Approximate Energy Minimization via Graph Cuts".
    """
    unary, edges, weights = np.asarray(unary, float), np.asarray(edges), np.asarray(weights, float)
    if unary.ndim != 2 or not np.isfinite(unary).all():
        raise BadInputError(f"unary must be finite and S×K, got {unary.shape} or not finite")
    if not unary.shape[1]:
        raise BadInputError(f"unary must have one label or more, got {unary.shape}")
    if edges.ndim != 2 or edges.shape[1] != 2 or weights.shape != edges.shape[:1]:
        raise BadInputError(
            f"edges E×2 and weights E must agree, got {edges.shape}, {weights.shape}"
        )
    if edges.size and not 0 <= edges.min() <= edges.max() < len(unary):
        raise BadInputError(
            f"edges must join nodes from 0 to {len(unary) - 1}, got {edges.min()} to {edges.max()}"
        )
    refuse_negative("weights", weights)
    maxflow = needed("maxflow", "PyMaxflow", "graph cut")
    labels = unary.argmin(-1)
    best = energy(labels, unary, edges, weights)
    for sweep in range(1, sweeps + 1):
        before = best
        for label in range(unary.shape[1]):
            trial = _expanded(maxflow, labels, label, unary, edges, weights)
            value = energy(trial, unary, edges, weights)
            if value < best:
                labels, best = trial, value
        if best >= before - 1e-9 * max(1.0, abs(before)):
            return Labelling(labels, best, sweep, True)
    return Labelling(labels, best, sweeps, False)

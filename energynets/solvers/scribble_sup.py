"""ScribbleSup's proposals on superpixels: what a network is trained on in the next round.

NumPy in and out, one picture, no derivative. The cut needs PyMaxflow, an extra. The alternation:

    segments = skimage.segmentation.felzenszwalb(image, scale=50, min_size=20)  # or any other
    labels = scribble_sup.propose(image, segments, uniform, seeds).labels       # first round
    # train a network by cross entropy on `labels`, predict `probabilities`, and propose again:
    labels = scribble_sup.propose(image, segments, probabilities, seeds).labels

Source: Lin et al., "ScribbleSup: Scribble-Supervised Convolutional Networks for Semantic
Segmentation", Sec. 3.
"""

from typing import Any

import numpy as np

from energynets.errors import BadInputError
from energynets.solvers.graph_cut import Labelling, needed, sweep_labels

_COLOURS, _SLOPES = 25, 10  # bins of a channel's and of a direction's histogram


def neighbours(segments: np.ndarray) -> np.ndarray:
    """Pairs of segments that touch (4 neighbours), each once and in order, E×2."""
    pairs = np.concatenate(
        [
            np.stack([segments[:-1].ravel(), segments[1:].ravel()], -1),
            np.stack([segments[:, :-1].ravel(), segments[:, 1:].ravel()], -1),
        ]
    )
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], -1)
    return np.unique(pairs, axis=0)


def histograms(image: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of each segment's pixels by colour, S×25·C, and by slope, S×10·2.

    Colours: 25 bins over [0, 1] for each channel. Slopes: 10 bins over [-1, 1] for the differences
    of brightness downwards and to the right, 0 at the last row and column. Each channel's and each
    direction's shares sum to 1.
    """
    count = segments.max() + 1
    sizes = np.bincount(segments.ravel(), minlength=count)[:, None]
    grey = image.mean(-1)
    slopes = [np.diff(grey, axis=axis, append=np.take(grey, [-1], axis)) for axis in (0, 1)]

    def shares(values: np.ndarray, bins: int) -> np.ndarray:
        place = np.clip((values * bins).astype(int), 0, bins - 1)
        joint = segments * bins + place
        return np.bincount(joint.ravel(), minlength=count * bins).reshape(count, bins) / sizes

    colour = [shares(image[..., c], _COLOURS) for c in range(image.shape[-1])]
    texture = [shares((slope + 1) / 2, _SLOPES) for slope in slopes]
    return np.concatenate(colour, -1), np.concatenate(texture, -1)


def similarity(
    image: np.ndarray,
    segments: np.ndarray,
    edges: np.ndarray,
    *,
    delta_colour: float = 5.0,
    delta_texture: float = 10.0,
) -> np.ndarray:
    """exp(-|Δh_c|²/δ_c² - |Δh_t|²/δ_t²) for each pair of segments, Eq. 4.

    The histograms h are those of `histograms` in per cent, so that the published δ of 5 and 10 tell
    segments apart; the paper does not give their unit.
    """
    colour, texture = (100 * of for of in histograms(image, segments))
    first, second = edges.T
    far = np.square(colour[first] - colour[second]).sum(-1) / delta_colour**2
    far += np.square(texture[first] - texture[second]).sum(-1) / delta_texture**2
    return np.exp(-far)


def energy(labels: np.ndarray, unary: np.ndarray, edges: np.ndarray, weights: np.ndarray) -> float:
    """Σ_i U_i(y_i) + Σ_ij w_ij [y_i ≠ y_j], over nodes and edges of any graph."""
    chosen = unary[np.arange(len(labels)), labels].sum()
    return float(chosen + weights[labels[edges[:, 0]] != labels[edges[:, 1]]].sum())


def _expanded(maxflow: Any, labels, label, unary, edges, weights) -> np.ndarray:
    """The best labelling in which each node keeps its label or takes `label`."""
    graph = maxflow.Graph[float]()
    nodes = graph.add_nodes(len(labels))
    keep = unary[np.arange(len(labels)), labels].astype(float)
    take = unary[:, label].astype(float)
    for (p, q), weight in zip(edges, weights, strict=True):
        # As in `graph_cut`: both keep, only q takes, only p takes; that both take costs nothing.
        a = weight * (labels[p] != labels[q])
        b, c = weight * (labels[p] != label), weight * (labels[q] != label)
        keep[q] += c
        keep[p] += a - c
        graph.add_edge(nodes[p], nodes[q], max(b + c - a, 0.0), 0.0)
    floor = np.minimum(keep, take)
    for node, (to_source, to_sink) in enumerate(zip(take - floor, keep - floor, strict=True)):
        graph.add_tedge(nodes[node], to_source, to_sink)
    graph.maxflow()
    takes = np.array([graph.get_segment(node) for node in nodes], bool)
    return np.where(takes, label, labels)


def expand(
    unary: np.ndarray, edges: np.ndarray, weights: np.ndarray, *, sweeps: int = 5
) -> Labelling:
    """Alpha expansion on any graph: labels y that nearly minimise `energy`; two labels exactly.

    Args:
        unary: S×K costs, finite; edges: E×2 nodes; weights: E, not negative.

    Raises:
        BadInputError: if PyMaxflow is missing.
    """
    maxflow = needed("maxflow", "PyMaxflow", "graph cut")

    def expanded(labels: np.ndarray, label: int) -> np.ndarray:
        return _expanded(maxflow, labels, label, unary, edges, weights)

    return sweep_labels(
        unary, expanded, lambda labels: energy(labels, unary, edges, weights), sweeps
    )


def propose(
    image: np.ndarray,
    segments: np.ndarray,
    probabilities: np.ndarray,
    seeds: np.ndarray,
    *,
    smoothness: float = 1.0,
    delta_colour: float = 5.0,
    delta_texture: float = 10.0,
    sweeps: int = 5,
) -> Labelling:
    """The labelling, one label a superpixel, that agrees with scribbles, network and neighbours.

    A superpixel with a scribble on it has that scribble's label, the one of most pixels if there
    are several; any other may have any label that is scribbled in the picture, at a cost of
    -log(1/their number) and minus the mean logarithm of the network's probability over its pixels,
    so that costs do not grow with superpixels' sizes. Neighbours that differ pay
    smoothness · `similarity`.

    Args:
        image: H×W×C in [0, 1].
        segments: H×W superpixels, numbered from 0 without gaps.
        probabilities: H×W×K; uniform ones for the first round.
        seeds: H×W×K planes in {0, 1}; some seed.

    Returns:
        labels: H×W.

    Raises:
        BadInputError: if PyMaxflow is missing, shapes differ, or there is no seed.
    """
    shape = segments.shape
    if (
        not image.shape[:2] == shape == probabilities.shape[:2]
        or seeds.shape != probabilities.shape
    ):
        raise BadInputError(
            "image H×W×C, segments H×W, probabilities and seeds H×W×K must agree, got "
            f"{image.shape}, {shape}, {probabilities.shape} and {seeds.shape}"
        )
    if not (seeds > 0).any():
        raise BadInputError("seeds must have some pixel of some label, got none")
    flat, count, classes = segments.ravel(), segments.max() + 1, seeds.shape[-1]

    def sums(planes: np.ndarray) -> np.ndarray:
        columns = planes.reshape(-1, classes).T
        return np.stack([np.bincount(flat, column, minlength=count) for column in columns], -1)

    strokes = sums((seeds > 0).astype(float))
    logs = sums(-np.log(np.clip(np.asarray(probabilities, float), 1e-7, 1)))
    sizes = np.bincount(flat, minlength=count)[:, None]
    scribbled = strokes.any(0)
    unary = logs / np.maximum(sizes, 1) + np.log(scribbled.sum())
    edges = neighbours(segments)
    weights = smoothness * similarity(
        image, segments, edges, delta_colour=delta_colour, delta_texture=delta_texture
    )
    forbidden = unary.max(-1).sum() + weights.sum() + 1  # more than all others could pay
    unary = np.where(scribbled, unary, forbidden)
    known = strokes.any(-1)
    own = np.eye(classes, dtype=bool)[strokes.argmax(-1)]
    unary[known] = np.where(own[known], 0.0, forbidden)
    found = expand(unary, edges, weights, sweeps=sweeps)
    return found._replace(labels=found.labels[segments])

"""ScribbleSup: labels for all pixels from scribbles and a network, and a network from those.

NumPy in and out, no derivative. The cut needs PyMaxflow, an extra, and `superpixels` scikit-image.

    for labels in scribble_sup.alternate(images, seeds, fit, rounds=3):
        ...  # of each picture; fit(labels) trains a network and returns its probabilities

Source: Lin et al., "ScribbleSup: Scribble-Supervised Convolutional Networks for Semantic
Segmentation", Sec. 3.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from energynets.errors import BadInputError
from energynets.solvers import alpha_expansion
from energynets.solvers.alpha_expansion import Labelling, needed, refuse_negative
from energynets.solvers.graph_cut import refuse_other_levels

_COLOURS, _SLOPES = 25, 10  # bins of a channel's and of a direction's histogram


def refuse_missing() -> None:
    """Raises BadInputError, with what to install, where PyMaxflow or scikit-image is missing."""
    needed("maxflow", "PyMaxflow", "ScribbleSup")
    needed("skimage.segmentation", "scikit-image", "ScribbleSup")


def superpixels(image: np.ndarray, *, scale: float = 200.0, least: int = 20) -> np.ndarray:
    """Felzenszwalb and Huttenlocher's segments of a picture, as the paper takes them; H×W.

    Args:
        image: H×W×3 in [0, 1], floating point.
        scale: larger ones make larger segments; some 150 of 256×192 pixels by default; above 0.
        least: pixels of the smallest segment, not negative.

    Raises:
        BadInputError: if scikit-image is missing or an argument is not as above.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise BadInputError(f"image must be H×W×3, got {image.shape}")
    refuse_other_levels(image)
    if not 0 < scale < np.inf:
        raise BadInputError(f"scale must be finite and above 0, got {scale}")
    refuse_negative("least", least)
    segmentation = needed("skimage.segmentation", "scikit-image", "superpixels")
    return segmentation.felzenszwalb(image, scale=scale, sigma=0.8, min_size=least)


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
    direction's shares sum to 1; a number that no segment has, to 0.
    """
    count = segments.max() + 1
    sizes = np.maximum(np.bincount(segments.ravel(), minlength=count), 1)[:, None]
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
        image: H×W×C in [0, 1], floating point.
        segments: H×W superpixels: numbers from 0 on, of which some may be missing.
        probabilities: H×W×K; uniform ones for the first round.
        seeds: H×W×K planes in {0, 1}; some seed.

    Returns:
        labels: H×W.

    Raises:
        BadInputError: if PyMaxflow is missing, an argument is not as above, or there is no seed.

    Source: Lin et al., "ScribbleSup", Sec. 3; the mean over pixels is ours.
    """
    shape = segments.shape
    if (
        not image.shape[:2] == shape == probabilities.shape[:2]
        or seeds.shape != probabilities.shape
        or seeds.ndim != 3
    ):
        raise BadInputError(
            "image H×W×C, segments H×W, probabilities and seeds H×W×K must agree, got "
            f"{image.shape}, {shape}, {probabilities.shape} and {seeds.shape}"
        )
    refuse_other_levels(image)
    refuse_negative("smoothness", smoothness)
    if segments.dtype.kind not in "iu" or segments.min() < 0:
        raise BadInputError(
            f"segments must be integers from 0 on, got {segments.dtype} from {segments.min()} on"
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
    found = alpha_expansion.expand(unary, edges, weights, sweeps=sweeps)
    return found._replace(labels=found.labels[segments])


def alternate(
    images: Sequence[np.ndarray],
    seeds: Sequence[np.ndarray],
    fit: Callable[[list[np.ndarray]], Sequence[np.ndarray]],
    *,
    rounds: int = 3,
    smoothness: float = 1.0,
    segment: Callable[[np.ndarray], np.ndarray] = superpixels,
) -> Iterator[list[np.ndarray]]:
    """ScribbleSup: proposes labels of all pictures, has a network trained on them, and again.

    Gives the labels of every round, H×W for each picture: of the first from the seeds alone, of
    the others from the network that `fit` trained on those before. `fit` is called when the next
    round is asked for, so that after the last it is the caller who trains on what came.

    Args:
        images, seeds: as in `propose`, one for each picture, at any sizes.
        fit: trains, from where it likes, by cross entropy on one label map for each picture, and
            returns probabilities, H×W×K for each picture.
        rounds: of proposing.
        smoothness: as in `propose`.
        segment: image to superpixels, H×W.

    Raises:
        BadInputError: as `propose` and `superpixels`; if there are not as many seeds as images; if
            what `fit` returns is not as above.
    """
    if len(images) != len(seeds):
        raise BadInputError(f"images and seeds must be as many, got {len(images)} and {len(seeds)}")
    segments = [segment(image) for image in images]
    probabilities: Sequence[np.ndarray] = [np.full(s.shape, 1 / s.shape[-1]) for s in seeds]
    for round_ in range(rounds):
        labels = [
            propose(*of, smoothness=smoothness).labels
            for of in zip(images, segments, probabilities, seeds, strict=True)
        ]
        yield labels
        if round_ + 1 < rounds:
            probabilities = fit(labels)
            _refuse_other_shapes(probabilities, [planes.shape for planes in seeds])


def _refuse_other_shapes(probabilities: Any, wanted: list[tuple[int, ...]]) -> None:
    """Raises BadInputError unless `fit` returned an array of each of these shapes."""
    if not hasattr(probabilities, "__len__"):
        got = type(probabilities).__name__
        raise BadInputError(f"fit must return probabilities of each picture, got {got}")
    shapes = [np.shape(of) for of in probabilities]
    if len(shapes) != len(wanted):
        raise BadInputError(
            f"fit must return probabilities of each of {len(wanted)} pictures, got {len(shapes)}"
        )
    for number, (shape, of) in enumerate(zip(shapes, wanted, strict=True)):
        if shape != of:
            raise BadInputError(f"fit must return {of} for picture {number}, got {shape}")

"""Graph cuts on the host: smoothing of label maps by a grid's Potts energy, and GrabCut.

NumPy in and out, one picture, no derivative: masks that a network is trained on or compared with.
`expand` needs PyMaxflow and `grab_cut` OpenCV, both optional.
"""

import numpy as np
from scipy import ndimage

from energynets.errors import BadInputError
from energynets.solvers import alpha_expansion
from energynets.solvers.alpha_expansion import Labelling, needed, refuse_negative

_ROUNDING = 1e-3  # by which resized pictures leave [0, 1]


def contrast(image: np.ndarray, *, beta: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """exp(-beta |I_p - I_q|²) of neighbours below each other, (H-1)×W, and beside, H×(W-1).

    beta: None for 1/(2 mean |I_p - I_q|²) of the picture, GrabCut's choice.

    Raises:
        BadInputError: if the image is not H×W×C, floating point in [0, 1].
    """
    image = np.asarray(image)
    if image.ndim != 3:
        raise BadInputError(f"image must be H×W×C, got {image.shape}")
    refuse_other_levels(image)
    squared = [np.square(np.diff(image.astype(float), axis=axis)).sum(-1) for axis in (0, 1)]
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
        unary: H×W×K costs, finite, of one label or more.
        weights: of neighbours below and beside each other, finite and not negative, as `contrast`
            makes them.
        smoothness: factor of the second sum, finite and not negative.
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
    for name, of in (("smoothness", smoothness), ("weights", weights[0]), ("weights", weights[1])):
        refuse_negative(name, of)
    pixels = np.arange(height * width).reshape(height, width)
    down = np.stack([pixels[:-1], pixels[1:]], -1).reshape(-1, 2)
    right = np.stack([pixels[:, :-1], pixels[:, 1:]], -1).reshape(-1, 2)
    found = alpha_expansion.expand(
        unary.reshape(height * width, -1),
        np.concatenate([down, right]),
        smoothness * np.concatenate([np.ravel(weight) for weight in weights]),
        sweeps=sweeps,
    )
    return found._replace(labels=found.labels.reshape(height, width))


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
        image: H×W×C in [0, 1], floating point.
        probabilities: H×W×K; uniform ones for the first round.
        seeds: H×W×K planes in {0, 1}.
        smoothness, sweeps: as in `expand`.

    Raises:
        BadInputError: as `contrast` and `expand`.

    Source: Lin et al., "ScribbleSup"; Tang et al., Sec. 4.2.
    """
    fitting = seeds.ndim == 3 and image.shape[:2] == seeds.shape[:2]
    if not fitting or probabilities.shape != seeds.shape or not seeds.shape[2]:
        raise BadInputError(
            "image H×W×C, probabilities H×W×K and seeds H×W×K must agree, got "
            f"{image.shape}, {probabilities.shape} and {seeds.shape}"
        )
    refuse_negative("smoothness", smoothness)
    unary = -np.log(np.clip(np.asarray(probabilities, float), 1e-7, 1))
    weights = contrast(image, beta=beta)
    # More than all that smoothness and other pixels could pay.
    most = unary.max(-1).sum() + smoothness * sum(weight.sum() for weight in weights) + 1
    known = (seeds > 0).any(-1, keepdims=True)
    unary = np.where(known, np.where(seeds > 0, 0.0, most), unary)
    return expand(unary, weights, smoothness=smoothness, sweeps=sweeps)


def grab_cut(image: np.ndarray, seeds: np.ndarray, *, rounds: int = 5) -> np.ndarray:
    """OpenCV's GrabCut from seeds: H×W labels.

    It parts two labels. Of more, each is cut from all the others; a pixel that several claim, or
    none, has the label of its nearest seed, among those that claim it. Labels without seeds are
    given to no pixel.

    Args:
        image: H×W×3 in [0, 1], floating point.
        seeds: H×W×K planes in {0, 1}; pixels of two labels or more, one label each.
        rounds: of fitting colour models and cutting.

    Raises:
        BadInputError: if OpenCV is missing, or an argument is not as above.

    Source: Rother, Kolmogorov, Blake, "GrabCut", for two labels.
    """
    fitting = image.ndim == seeds.ndim == 3 and seeds.shape[:2] == image.shape[:2]
    if not fitting or image.shape[2] != 3:
        raise BadInputError(
            f"image must be H×W×3 and seeds H×W×K, got {image.shape} and {seeds.shape}"
        )
    refuse_other_levels(image)
    drawn = seeds > 0
    if (drawn.sum(-1) > 1).any():
        raise BadInputError("seeds must be of one label at each pixel, got several at some")
    seeded = np.flatnonzero(drawn.any((0, 1)))
    if len(seeded) < 2:
        raise BadInputError(f"seeds must have some pixels of two labels, got {len(seeded)}")
    cv2 = needed("cv2", "opencv-python-headless", "GrabCut")
    levels = np.ascontiguousarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8))

    def claimed(label: int) -> np.ndarray:
        # Where no seed is, colours alone decide; without "probable foreground" nothing would be.
        mask = np.full(image.shape[:2], cv2.GC_PR_FGD, np.uint8)
        mask[drawn.any(-1)] = cv2.GC_BGD
        mask[drawn[..., label]] = cv2.GC_FGD
        models = np.zeros((2, 1, 65))
        cv2.grabCut(levels, mask, None, models[0], models[1], rounds, cv2.GC_INIT_WITH_MASK)
        return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))

    if len(seeded) == 2:
        return np.where(claimed(int(seeded[1])), seeded[1], seeded[0])
    far = np.full((*drawn.shape[:2], len(seeded)), float(sum(drawn.shape)))  # more than any way
    for place, label in enumerate(seeded.tolist()):
        way = np.asarray(ndimage.distance_transform_edt(~drawn[..., label]))
        far[..., place] = np.where(claimed(label), way, far[..., place] + way)
    return seeded[far.argmin(-1)]


def refuse_other_levels(image: np.ndarray) -> None:
    """Raises BadInputError unless the image is floating point in [0, 1], not in levels of 255."""
    image = np.asarray(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise BadInputError(f"image must be floating point in [0, 1], got {image.dtype}")
    if image.size and not (image.min() >= -_ROUNDING and image.max() <= 1 + _ROUNDING):
        found = f"{image.min():g} to {image.max():g}"
        raise BadInputError(f"image must be floating point in [0, 1], got it from {found}")

"""Seeds as maps of labels (255 where nothing is known) and as planes, small and partly hidden."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from scipy import ndimage

from energynets.data.source import NO_SEED


def shrink(seeds: UInt8[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "s s"]:
    """To size × size so that no stroke is lost, however thin.

    A small pixel is seeded if the centre of any seeded pixel falls into it, with the label that
    most of those have (the lowest where two have as many). Nearest-neighbour sampling would lose
    strokes that are thinner than the reduction. Works for enlarging as well, where it leaves gaps.
    """
    height, width = seeds.shape
    rows, columns = np.nonzero(seeds != NO_SEED)
    labels, planes = np.unique(seeds[rows, columns], return_inverse=True)
    votes = np.zeros((size, size, max(len(labels), 1)), np.int64)
    small = (2 * rows + 1) * size // (2 * height), (2 * columns + 1) * size // (2 * width)
    np.add.at(votes, (*small, planes), 1)
    winners = np.append(labels, NO_SEED).astype(np.uint8)[votes.argmax(-1)]
    return np.where(votes.any(-1), winners, NO_SEED).astype(np.uint8)


def hide(
    seeds: UInt8[np.ndarray, "h w"], random: np.random.Generator, *, least: float
) -> UInt8[np.ndarray, "h w"]:
    """The seeds with a part of each label's strokes taken away.

    Of every label the share between `least` and 1 that lies foremost in a random direction stays,
    and never less than one pixel: shorter strokes, or fewer of them. A network that sees these,
    and whose energy is measured with all the seeds, learns to say what lies where no seed is.
    """
    shown = seeds.copy()
    for label in np.unique(seeds[seeds != NO_SEED]):
        rows, columns = np.nonzero(seeds == label)
        angle = random.uniform(0, 2 * np.pi)
        order = np.argsort(rows * np.sin(angle) + columns * np.cos(angle), kind="stable")
        stay = max(1, round(random.uniform(least, 1) * len(order)))
        gone = order[stay:]
        shown[rows[gone], columns[gone]] = NO_SEED
    return shown


_STEPS = (-1, 0, 1)


def shorten(seeds: UInt8[np.ndarray, "h w"], ratio: float) -> UInt8[np.ndarray, "h w"]:
    """Every stroke cut to the share `ratio` of its pixels, at both ends; at 0 a click is left.

    A stroke is a connected part (8 neighbours) of one label. Its pixels are ranked by how far they
    lie, walking within the stroke, from the one nearest to its centre of mass; the first of them
    stay, and one at least.

    Source: the lengths of Tang et al., "On Regularized Losses for Weakly-supervised CNN
    Segmentation", Sec. 4, which gives no rule.
    """
    if ratio >= 1:
        return seeds
    kept = np.full_like(seeds, NO_SEED)
    around = np.ones((3, 3), bool)
    for label in np.unique(seeds[seeds != NO_SEED]):
        numbered = np.zeros(seeds.shape, np.int32)
        ndimage.label(seeds == label, around, output=numbered)
        for number, box in enumerate(ndimage.find_objects(numbered), 1):
            stroke = numbered[box] == number
            rows, columns = np.nonzero(stroke)
            middle = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
            wanted = max(1, round(ratio * len(rows)))
            left = set(zip(rows.tolist(), columns.tolist(), strict=True))
            ring, stay = {(int(rows[middle]), int(columns[middle]))}, []
            while len(stay) < wanted:
                stay += sorted(ring)
                left -= ring
                ring = {(r + i, c + j) for r, c in ring for i in _STEPS for j in _STEPS} & left
            kept[box][tuple(np.transpose(stay[:wanted]))] = label
    return kept


def count(seeds: UInt8[np.ndarray, "h w"]) -> int:
    """How many labels are seeded."""
    return len(np.unique(seeds[seeds != NO_SEED]))


def labels_of(seeds: UInt8[np.ndarray, "h w"], count: int) -> Int32[np.ndarray, " k"]:
    """The labels that are seeded, most pixels first, in `count` places; -1 in those left over."""
    found, sizes = np.unique(seeds[seeds != NO_SEED], return_counts=True)
    found = found[np.argsort(-sizes, kind="stable")][:count]
    return np.concatenate([found, np.full(count - len(found), -1)]).astype(np.int32)


def planes(
    seeds: UInt8[np.ndarray, "h w"], labels: Int32[np.ndarray, " k"]
) -> Float32[np.ndarray, "h w k"]:
    """One plane of zeros and ones for each of `labels`; a label of -1 gives an empty plane."""
    return (seeds[..., None].astype(np.int32) == labels).astype(np.float32)


def plane_of(
    mask: UInt8[np.ndarray, "h w"], labels: Int32[np.ndarray, " k"]
) -> Int32[np.ndarray, "h w"]:
    """For each pixel of a mask the place of its label in `labels`, -1 where it is not there."""
    place = np.full(256, -1, np.int32)
    for k, label in enumerate(labels):
        if label >= 0:
            place[label] = k
    return place[mask]


def nearest(planes: Float32[np.ndarray, "h w k"]) -> Float32[np.ndarray, "h w k"]:
    """Every pixel with the label of its nearest seed: an answer that does not see the picture.

    There must be a seed.
    """
    place: Any = ndimage.distance_transform_edt(
        ~planes.any(-1), return_distances=False, return_indices=True
    )
    return planes[tuple(place)]

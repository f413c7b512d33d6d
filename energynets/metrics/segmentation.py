"""Scores of label maps from confusion matrices, which add up over pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Integer, UInt8

from energynets.data import images
from energynets.data.source import VOID
from energynets.metrics.bootstrap import difference


def confusion(
    labels: UInt8[np.ndarray, "h w"], truth: UInt8[np.ndarray, "h w"], classes: int
) -> Int64[np.ndarray, "k k"]:
    """How many pixels of true label (row) were given each label (column); void pixels left out."""
    known = truth != VOID
    pairs = truth[known].astype(np.int64) * classes + labels[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def at_full_size(
    labels: Integer[np.ndarray, "a b"], truth: UInt8[np.ndarray, "h w"], classes: int
) -> Int64[np.ndarray, "k k"]:
    """The `confusion` of a label map of any size, brought to the truth's by nearest neighbour."""
    full = images.resize_labels(labels.astype(np.uint8), *truth.shape)
    return confusion(full, truth, classes)


def iou(matrix: Float[np.ndarray, "k k"]) -> Float[np.ndarray, " k"]:
    """Intersection over union of each label; nan for one that does not occur in the truth."""
    hits = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - hits
    return np.where(matrix.sum(1) > 0, hits / np.maximum(union, 1), np.nan)


def mean_iou(
    matrix: Float[np.ndarray, "k k"],
    pictures: Float[np.ndarray, " k"] | None = None,
    *,
    at_least: int = 1,
) -> float:
    """Mean of `iou` over the labels that occur in the truth of at least so many pictures.

    `pictures` counts those for each label; nan if no label is left.
    """
    values = iou(matrix)
    if pictures is not None:
        values = values[np.asarray(pictures) >= at_least]
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def pixel_accuracy(matrix: Float[np.ndarray, "k k"]) -> float:
    """Share of the pixels that are not void whose label is right."""
    return float(np.diag(matrix).sum() / max(matrix.sum(), 1))


def scores(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means of "loss" and "energy" over `sums["count"]` pictures, and "mean_iou" of "confusion".

    Each where it was summed.
    """
    result = {n: float(sums[n] / sums["count"]) for n in ("loss", "energy") if n in sums}
    if "confusion" in sums:
        result["mean_iou"] = mean_iou(sums["confusion"])
    return result


SUMMARY = ("mIoU", "mIoU, labels in 10 pictures", "pixel accuracy")


def summary(matrices: Int64[np.ndarray, "n k k"]) -> dict[str, float]:
    """The scores named in `SUMMARY` of a set, from one confusion matrix a picture."""
    total = matrices.sum(0)
    pictures = (matrices.sum(2) > 0).sum(0)
    scores = mean_iou(total), mean_iou(total, pictures, at_least=10), pixel_accuracy(total)
    return dict(zip(SUMMARY, scores, strict=True))


def told(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """For the notes of one picture: the mean IoU of each method that has a "confusion"."""
    return [
        f"IoU {method}: {mean_iou(of['confusion']):.3f}"
        for method, of in measured.items()
        if "confusion" in of
    ]


def bootstrap(
    first: Int64[np.ndarray, "n k k"],
    second: Int64[np.ndarray, "n k k"],
    *,
    at_least: int = 1,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """mean_iou of `first` minus that of `second`, and the 2.5 and 97.5 % points of it.

    Both hold one confusion matrix a picture. Pictures are drawn with replacement, the same for
    both, and the labels that count are those of the whole set; nan if there is none.
    """
    present = (first.sum(2) > 0).sum(0) >= at_least
    if not present.any():
        return float("nan"), float("nan"), float("nan")

    def score(matrices: np.ndarray) -> float:
        values = iou(matrices.sum(0))[present]
        return float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")

    return difference(first, second, score, draws=draws, seed=seed)


def one_label(
    labels: Integer[np.ndarray, "h w"], shown: Float[np.ndarray, " k"]
) -> dict[str, np.ndarray]:
    """Sums of one picture for `collapse`: `shown` is 1 for each label that the picture shows."""
    several = np.asarray(np.sum(shown) > 1, float)
    return {"several": several, "collapsed": several * (labels.min() == labels.max())}


def collapse(sums: Mapping[str, np.ndarray]) -> float:
    """The share of the pictures that show several labels whose pixels were all given the same."""
    return float(sums["collapsed"] / max(float(sums["several"]), 1.0))


def collapse_told(share: float, weights: Mapping[str, float], *, least: float = 0.9) -> list[str]:
    """A sentence if `collapse` is `least` or more, naming the greatest of the weights, by key.

    Whether that weight is the cause, only a run without it shows.
    """
    if share < least:
        return []
    told = f"all pixels alike in {share:.0%} of the validation pictures that show several labels"
    name = max(weights, key=lambda key: weights[key]) if weights else ""
    if not name or not weights[name]:
        return [f"{told}; no energy asks for that: the network has learnt nothing yet"]
    return [
        f"{told}: the prediction has collapsed; if a run without {name} does not, lower it, now "
        f"{weights[name]:g}, or begin with more steps without it"
    ]

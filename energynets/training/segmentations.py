"""What a report on label maps measures and draws: every method on every picture."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from energynets.data.source import Source
from energynets.data.weak_labels import Example
from energynets.metrics import segmentation
from energynets.training import comparison, figures

Planes = Any  # H×W×K, a NumPy or JAX array


def shown(truth: UInt8[np.ndarray, "h w"] | None, example: Example) -> Any:
    """K numbers, 1 for each label that a picture shows: in its truth, if any, or by its example.

    Weak labels may leave out some, as where nobody drew a scribble.
    """
    count = len(example.present)
    return example.present if truth is None else np.isin(np.arange(count), truth)


def compared(
    source: Source,
    look: Callable[[int], Example],
    *,
    answers: Callable[[Any], Mapping[str, Planes]],
    energies: Callable[[Example, Planes], Mapping[str, Any]],
    pulls: Callable[[Example], Mapping[str, Planes]],
    figure: Path,
    pictures: int,
) -> dict[str, dict[str, Any]]:
    """For each method the scores of `comparison.labels_scored`, and the mean of each energy.

    Args:
        look: index to example.
        answers: image to the probabilities of each method, the network's first.
        energies: example and probabilities to numbers.
        pulls: example to how much descending each energy raises each label's score, to be drawn.
        figure: where the first `pictures` are drawn.
    """
    drawn: list[figures.Weak] = []

    def compare(index: int) -> comparison.Scores:
        picture, truth = source[index], source.mask(index)
        example = look(index)
        found = {name: np.asarray(of) for name, of in answers(example.image).items()}
        measured: dict[str, dict[str, Any]] = {}
        for name, answer in found.items():
            labels = answer.argmax(-1)
            measured[name] = {k: float(v) for k, v in energies(example, answer).items()}
            measured[name] |= segmentation.one_label(labels, shown(truth, example))
            if truth is not None:
                of = segmentation.at_full_size(labels, truth, source.classes)
                measured[name]["confusion"] = of
        if index < pictures:
            pulled = {f"pull of {name}": np.asarray(of) for name, of in pulls(example).items()}
            drawn.append(
                figures.Weak(picture.name, example.image, example.known, found, pulled, truth)
            )
        return measured

    measured = comparison.over_pictures(len(source), compare)
    figures.draw_weak(figure, drawn, classes=source.classes)
    return comparison.labels_scored(measured)

"""Masks for training that are proposed from scribbles and a network, at each picture's size."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from energynets.data import images, seeds
from energynets.data.source import Picture
from energynets.solvers import scribble_sup


def scribble_sup_masks(
    answer: Callable[[Float32[np.ndarray, "s s 3"]], Any] | None,
    *,
    size: int,
    classes: int,
    length: float,
    smoothness: float,
) -> Callable[[Picture], UInt8[np.ndarray, "h w"]]:
    """A function from a picture to ScribbleSup's proposal, as `data.proposed` wants it.

    Args:
        answer: an image of `size` to the network's probabilities, S×S×K, which are enlarged to the
            picture; None: scribbles alone count, as in the first round.
        length: to what share scribbles are shortened.
        smoothness: as in `scribble_sup.propose`.
    """

    def propose(picture: Picture) -> UInt8[np.ndarray, "h w"]:
        strokes = seeds.shorten(picture.seeds, length)
        planes = seeds.planes(strokes, np.arange(classes, dtype=np.int32))
        said = np.full_like(planes, 1 / classes)
        if answer is not None:
            small = np.asarray(answer(images.resize(picture.image, size)))
            said = images.resize_planes(small, *strokes.shape)
        segments = scribble_sup.superpixels(picture.image)
        of = picture.image, segments, said, planes
        return scribble_sup.propose(*of, smoothness=smoothness).labels.astype(np.uint8)

    return propose

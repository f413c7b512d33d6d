"""A seeded picture at a network's size, as a batch holds it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from energynets.data import images, seeds
from energynets.data.source import NO_SEED, Picture

Leaf = Any  # NumPy arrays on the host, JAX arrays in a batch


class Example(NamedTuple):
    """One picture of S×S pixels; its K planes stand for the labels in `labels`.

    image: S×S×3 in [0, 1].
    seeds: S×S×K, all of them, for the energy.
    shown: S×S×K, those that the network sees.
    mask: S×S, the true plane; -1 where it is unknown, and everywhere without supervision.
    labels: K, -1 for a plane that is not used.
    """

    image: Leaf
    seeds: Leaf
    shown: Leaf
    mask: Leaf
    labels: Leaf


def whole(
    picture: Picture, size: int, *, count: int, fixed: Int32[np.ndarray, " k"] | None = None
) -> Example:
    """A picture to be measured on: as it is, with all its seeds and without its mask.

    Its planes are the `count` labels of most seeds, or those that are `fixed`.
    """
    small = seeds.shrink(picture.seeds, size)
    labels = seeds.labels_of(small, count) if fixed is None else fixed
    planes = seeds.planes(small, labels)
    unknown = np.full((size, size), -1, np.int32)
    return Example(images.resize(picture.image, size), planes, planes, unknown, labels)


def partly_shown(example: Example, random: np.random.Generator, *, least: float) -> Example:
    """The same, with a part of its seeds hidden from the network: see `seeds.hide`."""
    known = np.where(example.seeds.any(-1), example.seeds.argmax(-1), NO_SEED).astype(np.uint8)
    shown = seeds.hide(known, random, least=least)
    return example._replace(shown=seeds.planes(shown, np.arange(example.seeds.shape[-1])))


def left_out_told(counts: Sequence[int], most: int) -> list[str]:
    """A sentence if pictures with `counts` seeded labels have more than the `most` of `whole`."""
    more = sum(count > most for count in counts)
    told = (
        f"{more} pictures have seeds of more than {most} labels (config.data.validation_labels); "
        "those of fewest seeds were left out, by all methods."
    )
    return [told] if more else []

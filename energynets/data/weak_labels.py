"""A picture with what little is known of its labels, at a network's size, as a batch holds it."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from energynets.data import augment, images, seeds
from energynets.data.source import NO_SEED, VOID, Picture

Leaf = Any  # NumPy arrays on the host, JAX arrays in a batch


class Example(NamedTuple):
    """One picture of S×S pixels and K labels.

    image: S×S×3 in [0, 1].
    known: S×S×K, 1 where a pixel's label is known.
    present: K, 1 for the labels that the picture may show.
    regularized: 1 once energies of the prediction count beside the labels, else 0.
    """

    image: Leaf
    known: Leaf
    present: Leaf
    regularized: Leaf


def example(
    picture: Picture,
    *,
    size: int,
    classes: int,
    mask: UInt8[np.ndarray, "h w"] | None = None,
    kind: str = "scribbles",
    length: float = 1.0,
    random: np.random.Generator | None = None,
    crop: float = 0.0,
    regularized: bool = True,
) -> Example:
    """The picture with what is known of it: its whole mask, if given, or as `kind` says.

    Args:
        kind: "scribbles", the picture's seeds; "tags", which labels these have and no place;
            "none", nothing: then every label may be present.
        length: to what share scribbles are shortened, see `seeds.shorten`.
        random: left and right are exchanged half the time, and half the time a square is cut out.
        crop: least side of that square, in shorter sides; 0: never. Tags are of whole pictures,
            which are never cut.
    """
    image, places = picture.image, picture.seeds
    if mask is not None:
        places = mask
    present = np.isin(np.arange(classes), places).astype(np.float32)
    if mask is None and kind != "scribbles":
        places = np.full_like(places, NO_SEED)
        present = present if kind == "tags" else np.ones_like(present)
    elif mask is None:
        places = seeds.shorten(places, length)
    if random is not None:
        if crop and random.random() < 0.5 and (mask is not None or kind != "tags"):
            image, (places,) = augment.crop(image, places, random=random, least=crop)
        image, (places,) = augment.flip_and_turn(image, places, random=random, turns=False)
        image, places = np.ascontiguousarray(image), np.ascontiguousarray(places)
    if mask is None:
        places = seeds.shrink(places, size)
    else:
        places = images.resize_labels(places, size, size)
    planes = seeds.planes(places, np.arange(classes, dtype=np.int32))
    return Example(images.resize(image, size), planes, present, np.float32(regularized))


def pixels(
    mask: UInt8[np.ndarray, "h w"], count: int, random: np.random.Generator
) -> UInt8[np.ndarray, "h w"]:
    """The labels of `count` random pixels of a mask, of all where it has fewer; 255 elsewhere.

    Void pixels are never drawn.
    """
    drawn = np.full_like(mask, NO_SEED)
    places = np.flatnonzero(mask != VOID)
    chosen = random.choice(places, min(count, len(places)), replace=False)
    drawn.flat[chosen] = mask.flat[chosen]
    return drawn

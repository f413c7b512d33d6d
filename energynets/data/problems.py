"""Two-class problems out of pictures of many labels: one for each object, or one for each class.

Label 1 is what the problem is about, 0 the rest, 255 unknown. A problem has an index of its own,
so whatever takes a source takes these.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from energynets.data import masks
from energynets.data.source import NO_SEED, VOID, Picture, Source
from energynets.errors import BadInputError

_SALT = 20243


class Objects:
    """One problem for each object that a mask shows, as in the Deep Energy preprint.

    An object is a connected part of a label above 0 that is not very small (`masks.objects`); its
    seeds are drawn from its own two-class mask (`masks.from_mask`), always the same ones. All
    masks are read once at the beginning.

    Raises:
        BadInputError: if a picture has no mask or one of another size; if there is no object.
    """

    classes = 2

    def __init__(self, source: Source):
        self._source = source

        def count(index: int) -> int:
            return len(masks.objects(self._whole(index)))

        self._places = _places(source, lambda index: list(range(count(index))), "an object")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Picture:
        picture = self._source[self._places[index][0]]
        mask = self.mask(index)
        if mask.shape != picture.image.shape[:2]:
            raise BadInputError(
                f"{picture.name}: wanted a mask of the image's size, "
                f"{picture.image.shape[1]}×{picture.image.shape[0]}, "
                f"got {mask.shape[1]}×{mask.shape[0]}"
            )
        random = np.random.default_rng((_SALT, *self._places[index]))
        return Picture(self.name(index), picture.image, masks.from_mask(mask, random))

    def name(self, index: int) -> str:
        picture, number = self._places[index]
        return f"{self._source.name(picture)} object {number + 1}"

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"]:
        picture, number = self._places[index]
        mask = self._whole(picture)
        return masks.two_class(mask, masks.objects(mask)[number])

    def _whole(self, picture: int) -> UInt8[np.ndarray, "h w"]:
        mask = self._source.mask(picture)
        if mask is None:
            name = self._source.name(picture)
            raise BadInputError(f"{name}: wanted a mask to find objects in, got none")
        return mask


class Classes:
    """One problem for each label above 0 that is seeded: its seeds against those of all others.

    So scribbles of many classes give foreground and background, one copy of the picture for each
    class; pictures where nothing else is seeded give none. All seeds are read once at the
    beginning; masks are not looked at for it.

    Raises:
        BadInputError: if no picture has seeds of a label above 0 and of another one.
    """

    classes = 2

    def __init__(self, source: Source):
        self._source = source

        def labels(index: int) -> list[int]:
            found = np.unique(source[index].seeds)
            found = found[found != NO_SEED]
            return [int(label) for label in found if label > 0] if len(found) > 1 else []

        self._places = _places(source, labels, "seeds of a label above 0 and of another one")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Picture:
        picture, label = self._places[index]
        of = self._source[picture]
        return Picture(self.name(index), of.image, _against(of.seeds, label, NO_SEED))

    def name(self, index: int) -> str:
        picture, label = self._places[index]
        return f"{self._source.name(picture)} label {label}"

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        picture, label = self._places[index]
        mask = self._source.mask(picture)
        return None if mask is None else _against(mask, label, VOID)


def _against(
    labels: UInt8[np.ndarray, "h w"], label: int, unknown: int
) -> UInt8[np.ndarray, "h w"]:
    """1 at `label`, 0 at others; what is unknown stays."""
    return np.where(labels == unknown, unknown, labels == label).astype(np.uint8)


def _places(
    source: Source, parts: Callable[[int], list[int]], wanted: str
) -> list[tuple[int, int]]:
    """Each problem's picture, and which of its parts the problem is about."""
    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(parts, range(len(source)))]
    places = [(index, part) for index, of in enumerate(found) for part in of]
    if not places:
        raise BadInputError(
            f"config.data.problems: wanted a picture with {wanted}, got none in {len(source)}"
        )
    return places

"""Looking once at every picture before a long run begins."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from energynets.data.source import NO_SEED, Picture, Source
from energynets.errors import BadInputError


class Subset:
    """Some pictures of a source, in the order of `indices`."""

    def __init__(self, source: Source, indices: list[int]):
        self._source, self._indices = source, indices
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Picture:
        return self._source[self._indices[index]]

    def name(self, index: int) -> str:
        return self._source.name(self._indices[index])

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        return self._source.mask(self._indices[index])


def faults(
    source: Source,
    *,
    needs_seeds: bool = True,
    masks: bool = False,
    place: Callable[[str], str] = str,
    workers: int = 2,
) -> Iterator[tuple[int, str | None]]:
    """For each index what is wrong with its picture, in one line, or None.

    needs_seeds: a picture without seeds is a fault; `place` says where they are looked for, from
        the picture's name.
    masks: its mask is read as well, if it has one.
    """

    def fault(index: int) -> str | None:
        try:
            picture = source[index]
            if masks:
                source.mask(index)
        except BadInputError as error:
            return str(error)
        if needs_seeds and (picture.seeds == NO_SEED).all():
            return f"{place(picture.name)}: wanted at least one seed, got a picture without seeds"
        return None

    with ThreadPoolExecutor(workers) as pool:
        yield from zip(range(len(source)), pool.map(fault, range(len(source))), strict=True)


def checked(
    source: Source,
    *,
    skip_broken: bool,
    needs_seeds: bool = True,
    masks: bool = False,
    place: Callable[[str], str] = str,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Source, list[str]]:
    """The source with every picture read once, and what was wrong with those left out.

    `needs_seeds`, `masks` and `place` as in `faults`.

    Raises:
        BadInputError: for the first picture that cannot be used unless `skip_broken`, and if none
            can be used.
    """
    good, broken = [], []
    looked_at = faults(source, needs_seeds=needs_seeds, masks=masks, place=place)
    for index, fault in looked_at:
        advance()
        if fault is None:
            good.append(index)
        elif not skip_broken:
            raise BadInputError(f"{fault} (config.data.skip_broken=True would leave it out)")
        else:
            broken.append(fault)
    if not good:
        raise BadInputError(f"wanted at least one usable picture, got none; the first: {broken[0]}")
    return (Subset(source, good) if broken else source), broken

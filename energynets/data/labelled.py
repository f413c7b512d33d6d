"""A few labelled pictures among many."""

from math import ceil

import numpy as np
from jaxtyping import UInt8

from energynets.data.source import Picture, Source


class FirstMasks:
    """The pictures of a source, of which only the first `share` (0 to 1) show their masks."""

    def __init__(self, source: Source, share: float):
        self._source = source
        self._shown = ceil(share * len(source))
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Picture:
        return self._source[index]

    def name(self, index: int) -> str:
        return self._source.name(index)

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        return self._source.mask(index) if index < self._shown else None

    def known(self) -> int:
        """How many masks can be seen; reads those."""
        return sum(self._source.mask(index) is not None for index in range(self._shown))

"""Pictures whose masks are made of what is known of them, such as proposals from scribbles."""

import zlib
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from energynets.data.source import Picture, Source


class Proposed:
    """The pictures of a source; those that show no mask have the one that `propose` makes of them.

    Each is made when it is first asked for, and kept, compressed. `propose` must depend on the
    picture alone, and bear to be called from several threads.
    """

    def __init__(self, source: Source, propose: Callable[[Picture], UInt8[np.ndarray, "h w"]]):
        self._source, self._propose = source, propose
        self._made: dict[int, tuple[tuple[int, ...], bytes]] = {}
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Picture:
        return self._source[index]

    def name(self, index: int) -> str:
        return self._source.name(index)

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        shown = self._source.mask(index)
        if shown is not None:
            return shown
        # Two threads may both make a mask; they make the same.
        if index not in self._made:
            mask = self._propose(self._source[index])
            self._made[index] = mask.shape, zlib.compress(mask.tobytes(), 1)
        shape, packed = self._made[index]
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)

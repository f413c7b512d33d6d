"""What a source of pictures is: anything addressed by index."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

NO_SEED = 255  # in a seed map: nothing is known here
VOID = 255  # in a mask: left out of every score


class Picture(NamedTuple):
    """One example as it lies on disk, at its own size.

    name: for messages and file names.
    image: H×W×3, in [0, 1].
    seeds: H×W, the label at a seeded pixel, 255 elsewhere.
    """

    name: str
    image: Float32[np.ndarray, "h w 3"]
    seeds: UInt8[np.ndarray, "h w"]


@runtime_checkable  # so that a test can check a signature that names it
class Source(Protocol):
    """Pictures by index. Training calls only `source[i]`, unless a
    supervised loss is asked for; `mask` is for reports.

    Reading an index twice gives the same arrays, in any order and from any thread: a source keeps
    no iterator.
    """

    classes: int  # labels run from 0 to classes - 1

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Picture: ...

    def name(self, index: int) -> str: ...

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        """The true label of each pixel, 255 where it is void; None where there is no truth."""
        ...

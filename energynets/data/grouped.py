"""Labels put together: object against background, or a few classes out of many."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from energynets.data.source import VOID, Picture, Source
from energynets.errors import BadInputError


class Grouped:
    """The pictures of a source whose labels are those of the groups.

    Label i + 1 stands for any of `groups[i]`, 0 for all labels that are in no group; 255 stays. So
    `((8, 12),)` tells VOC's cats and dogs from all the rest, `((8,), (12,))` from each other too.

    Raises:
        BadInputError: if there is no group, or one label is in two groups or not among the labels.
    """

    def __init__(self, source: Source, groups: Sequence[Sequence[int]]):
        table = np.zeros(256, np.uint8)
        table[VOID] = VOID
        for number, group in enumerate(groups, 1):
            for label in group:
                if not 0 <= label < source.classes or table[label]:
                    raise BadInputError(
                        f"groups: wanted each label from 0 to {source.classes - 1} in one group at "
                        f"most, got {label} in {tuple(map(tuple, groups))}"
                    )
                table[label] = number
        if not groups:
            raise BadInputError("groups: wanted one group of labels at least, got none")
        self._source, self._table = source, table
        self.classes = len(groups) + 1

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Picture:
        picture = self._source[index]
        return picture._replace(seeds=self._table[picture.seeds])

    def name(self, index: int) -> str:
        return self._source.name(index)

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        mask = self._source.mask(index)
        return None if mask is None else self._table[mask]

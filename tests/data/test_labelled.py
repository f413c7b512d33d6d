import numpy as np
import pytest

from energynets.data.labelled import FirstMasks
from energynets.data.source import Picture


class Five:
    """Pictures whose masks are full of their index; the second has none."""

    classes = 7

    def __init__(self):
        self.read = []

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return Picture(self.name(index), np.zeros((2, 2, 3), np.float32), self.map(index))

    def map(self, index):
        return np.full((2, 2), index, np.uint8)

    def name(self, index):
        return "abcde"[index]

    def mask(self, index):
        self.read.append(index)
        return None if index == 1 else self.map(index)


@pytest.mark.parametrize(
    ("share", "shown", "known"), [(0.0, [], 0), (0.5, [0, 2], 2), (0.41, [0, 2], 2), (1, None, 4)]
)
def test_the_first_pictures_show_their_masks_and_the_others_none(share, shown, known):
    source = FirstMasks(Five(), share)
    found = [index for index in range(5) if source.mask(index) is not None]
    assert found == ([0, 2, 3, 4] if shown is None else shown)
    assert source.known() == known
    assert len(source) == 5 and source.classes == 7
    assert source[3].name == source.name(3) == "d"


def test_a_mask_that_may_not_be_seen_is_not_read():
    five = Five()
    source = FirstMasks(five, 0.0)
    assert [source.mask(index) for index in range(5)] == [None] * 5
    assert source.known() == 0 and five.read == []

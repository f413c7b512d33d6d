import numpy as np

from energynets.data.labelled import FirstMasks
from energynets.data.proposed import Proposed
from energynets.data.source import Picture


class Three:
    """Pictures of 2×3 pixels whose masks are full of their index."""

    classes = 5

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return Picture(self.name(index), np.zeros((2, 3, 3), np.float32), self.mask(index) + 1)

    def name(self, index):
        return "abc"[index]

    def mask(self, index):
        return np.full((2, 3), index, np.uint8)


def test_masks_that_are_not_shown_are_made_once_of_the_picture():
    asked = []

    def propose(picture):
        asked.append(picture.name)
        return picture.seeds + np.uint8(1)

    source = Proposed(FirstMasks(Three(), 0.3), propose)
    for _ in range(3):
        masks = [source.mask(index) for index in range(3)]
        assert [mask.dtype for mask in masks] == [np.uint8] * 3
        np.testing.assert_array_equal(masks, np.stack([np.full((2, 3), k) for k in (0, 3, 4)]))
    assert asked == ["b", "c"]
    assert len(source) == 3 and source.classes == 5
    assert source[1].name == source.name(1) == "b"

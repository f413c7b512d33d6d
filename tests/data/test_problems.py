import numpy as np
import pytest

from energynets.data import masks, problems
from energynets.data.source import Picture
from energynets.errors import BadInputError


class Drawn:
    """Pictures of 40×40 from given seed maps and masks."""

    classes = 8

    def __init__(self, seeds, truth):
        self._seeds, self._truth = seeds, truth

    def __len__(self):
        return len(self._seeds)

    def __getitem__(self, index):
        image = np.full((40, 40, 3), index / 10, np.float32)
        return Picture(self.name(index), image, self._seeds[index])

    def name(self, index):
        return "abc"[index]

    def mask(self, index):
        return self._truth[index]


def mask():
    """Two objects of label 3 and one of label 5 that touches void, on background."""
    truth = np.zeros((40, 40), np.uint8)
    truth[2:12, 2:12] = truth[20:35, 2:12] = 3
    truth[5:30, 20:35] = 5
    truth[30, 20:35] = 255
    truth[38, 38] = 7  # too small to be an object
    return truth


def strokes(*labels):
    seeds = np.full((40, 40), 255, np.uint8)
    for row, label in enumerate(labels):
        seeds[4 * row, 3:30] = label
    return seeds


EMPTY = np.zeros((40, 40), np.uint8)


def test_each_object_is_a_problem_of_its_own():
    source = problems.Objects(Drawn([strokes()] * 3, [mask(), EMPTY, mask()]))
    assert len(source) == 6 and source.classes == 2
    names = [source.name(index) for index in range(6)]
    assert names[:3] == ["a object 1", "a object 2", "a object 3"] and names[3] == "c object 1"
    parts = [source.mask(index) == 1 for index in range(3)]
    expected = [piece.region for piece in masks.objects(mask())]
    for part, region in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part, region)
    for index in range(3):
        truth = source.mask(index)
        np.testing.assert_array_equal(truth == 255, mask() == 255)
        assert set(np.unique(truth)) == {0, 1, 255}
        assert source[index].name == names[index] and source[index].image[0, 0, 0] == 0
    assert source[5].image[0, 0, 0] == np.float32(0.2)


def test_the_seeds_of_an_object_lie_inside_it_and_those_of_the_rest_outside():
    source = problems.Objects(Drawn([strokes(1)], [mask()]))
    for index in range(3):
        seeds, truth = source[index].seeds, source.mask(index)
        assert set(np.unique(seeds)) == {0, 1, 255}
        np.testing.assert_array_equal(seeds[seeds != 255], truth[seeds != 255])
        np.testing.assert_array_equal(source[index].seeds, seeds)
    assert (source[0].seeds != source[1].seeds).any()


def test_pictures_without_masks_or_objects_are_refused():
    with pytest.raises(BadInputError, match=r"^a: wanted a mask to find objects in, got none"):
        problems.Objects(Drawn([strokes(1)], [None]))
    with pytest.raises(BadInputError, match="problems: wanted a picture with an object, got none"):
        problems.Objects(Drawn([strokes(1)], [EMPTY]))
    source = problems.Objects(Drawn([strokes(1)], [np.pad(mask(), (0, 2))]))
    with pytest.raises(
        BadInputError, match=r"^a: wanted a mask of the image's size, 40×40, got 42"
    ):
        source[0]


def test_each_seeded_class_is_a_problem_of_its_own_against_all_other_seeds():
    source = problems.Classes(Drawn([strokes(0, 3, 5), strokes(0, 3)], [mask(), None]))
    assert [source.name(index) for index in range(3)] == ["a label 3", "a label 5", "b label 3"]
    assert source.classes == 2
    given, found = strokes(0, 3, 5), source[1].seeds
    np.testing.assert_array_equal(found == 1, given == 5)
    np.testing.assert_array_equal(found == 0, (given == 0) | (given == 3))
    np.testing.assert_array_equal(found == 255, given == 255)
    truth = source.mask(1)
    np.testing.assert_array_equal(truth == 1, mask() == 5)
    np.testing.assert_array_equal(truth == 255, mask() == 255)
    assert source.mask(2) is None


def test_two_classes_without_background_are_seeds_against_each_other():
    source = problems.Classes(Drawn([strokes(3, 5)], [None]))
    first, second = source[0].seeds, source[1].seeds
    np.testing.assert_array_equal(first == 1, second == 0)
    np.testing.assert_array_equal(first == 0, second == 1)


def test_pictures_with_seeds_of_one_label_alone_give_no_problem():
    source = problems.Classes(Drawn([strokes(0), strokes(4), strokes(0, 4)], [None] * 3))
    assert [source.name(index) for index in range(len(source))] == ["c label 4"]
    with pytest.raises(BadInputError, match="problems: wanted a picture with seeds of a label abo"):
        problems.Classes(Drawn([strokes(0), strokes(4)], [None] * 2))

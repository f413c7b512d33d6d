import numpy as np

from energynets.data import examples, images, seeds
from energynets.data.source import Picture


def picture():
    image = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    known = np.full((20, 30), 255, np.uint8)
    known[3, 2:28], known[12, 4:20], known[17, 5:9] = 0, 7, 2
    return Picture("a", image, known)


def test_a_whole_picture_has_its_labels_of_most_seeds_and_shows_all_of_them():
    found = examples.whole(picture(), 16, count=2)
    assert list(found.labels) == [0, 7]
    small = seeds.shrink(picture().seeds, 16)
    np.testing.assert_array_equal(found.seeds, np.stack([small == 0, small == 7], -1))
    np.testing.assert_array_equal(found.shown, found.seeds)
    np.testing.assert_array_equal(found.image, images.resize(picture().image, 16))
    assert (found.mask == -1).all()


def test_planes_can_be_fixed():
    found = examples.whole(picture(), 16, count=2, fixed=np.arange(9, dtype=np.int32))
    assert found.seeds.shape == (16, 16, 9)
    assert list(np.flatnonzero(found.seeds.any((0, 1)))) == [0, 2, 7]


def test_pictures_of_more_labels_than_planes_are_told_of():
    assert examples.left_out_told([1, 2, 2], 2) == []
    [told] = examples.left_out_told([1, 3, 5], 2)
    assert told.startswith("2 pictures have seeds of more than 2 labels")


def test_hidden_seeds_are_hidden_from_the_network_alone():
    example = examples.whole(picture(), 16, count=4)
    part = examples.partly_shown(example, np.random.default_rng(0), least=0.2)
    np.testing.assert_array_equal(part.seeds, example.seeds)
    assert (part.shown <= example.seeds).all()
    left, there = part.shown.sum((0, 1)), example.seeds.sum((0, 1))
    assert (left[:3] >= 1).all() and (left < there).any() and left[3] == 0

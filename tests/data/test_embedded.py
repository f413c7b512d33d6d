import builtins
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from energynets.data import embedded
from energynets.data.embedded import Embedded
from energynets.errors import BadInputError

pytest.importorskip("skimage")
SPLITS = pytest.mark.parametrize("split", ["train", "val"])


def same(first, second):
    assert first.name == second.name
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.seeds, second.seeds)


@SPLITS
def test_pictures_are_as_a_source_promises(split):
    source = Embedded(split)
    assert len(source) == {"train": 400, "val": 40}[split]
    names = [source.name(i) for i in range(len(source))]
    assert len(set(names)) == len(names)
    for index in (0, 7, len(source) - 1):
        picture = source[index]
        assert picture.name == names[index]
        assert picture.image.shape == (128, 128, 3) and picture.image.dtype == np.float32
        assert picture.image.min() >= 0 and picture.image.max() <= 1
        assert picture.seeds.shape == (128, 128) and picture.seeds.dtype == np.uint8


@SPLITS
def test_seeds_agree_with_the_mask_and_every_label_of_some_size_is_seeded(split):
    source = Embedded(split)
    for index in range(20):
        seeds, mask = source[index].seeds, source.mask(index)
        seeded = seeds != 255
        np.testing.assert_array_equal(seeds[seeded], mask[seeded])
        labels, sizes = np.unique(mask[mask != 255], return_counts=True)
        # Two labels at least, and none is so small that it could lack a seed.
        assert 2 <= len(labels) <= 4 and labels.max() < source.classes
        assert sizes.min() > 0.01 * mask.size
        assert set(np.unique(seeds[seeded])) == set(labels)
        assert 0.001 < seeded.mean() < 0.1


@SPLITS
def test_alpha_is_one_on_regions_zero_on_background_and_between_only_where_void(split):
    source = Embedded(split)
    for index in range(20):
        mask, alpha = source.mask(index), source.alpha(index)
        assert alpha.dtype == np.float32 and alpha.min() >= 0 and alpha.max() <= 1
        np.testing.assert_array_equal(alpha[mask == 0], 0)
        np.testing.assert_array_equal(alpha[(mask > 0) & (mask != 255)], 1)
        assert 0.005 < (mask == 255).mean() < 0.12
        assert ((alpha > 0) & (alpha < 1)).any()


def test_a_picture_is_the_sum_of_coverage_times_texture():
    source = Embedded("train")
    for index in range(5):
        coverage = source._coverage(index)
        np.testing.assert_allclose(coverage.sum(0), 1, atol=1e-6)
        textures = embedded._textures(
            embedded._PHOTOGRAPHS["train"], len(coverage), 128, source._random(index, 1)
        )
        pairs = zip(coverage, textures, strict=True)
        mixed = sum(part[..., None] * texture for part, texture in pairs)
        np.testing.assert_allclose(source[index].image, mixed, atol=1e-6)


@SPLITS
def test_regions_lie_far_apart_in_colour(split):
    source = Embedded(split)
    nearest = []
    for index in range(20):
        image, mask = source[index].image, source.mask(index)
        means = np.stack([image[mask == k].mean(0) for k in np.unique(mask[mask != 255])])
        apart = np.linalg.norm(means[:, None] - means, axis=-1)
        nearest.append(apart[~np.eye(len(means), dtype=bool)].min())
    # The crops are chosen by the means of the whole squares, so regions may come out nearer.
    assert np.median(nearest) > 0.25


def test_the_splits_share_no_photograph():
    assert not set(embedded._PHOTOGRAPHS["train"]) & set(embedded._PHOTOGRAPHS["val"])


def test_a_picture_depends_on_its_index_alone():
    forwards, backwards = Embedded("train"), Embedded("train")
    pictures = [forwards[i] for i in range(6)]
    for index in reversed(range(6)):
        same(backwards[index], pictures[index])
    with ThreadPoolExecutor(4) as pool:
        for index, picture in enumerate(pool.map(lambda i: forwards[i % 6], range(24))):
            same(picture, pictures[index % 6])
    assert any((pictures[0].image != other.image).any() for other in pictures[1:])
    assert (Embedded("val")[0].image != pictures[0].image).any()


def test_any_size_can_be_had():
    source = Embedded("val", size=37)
    picture = source[3]
    assert picture.image.shape == (37, 37, 3)
    assert picture.seeds.shape == source.mask(3).shape == source.alpha(3).shape == (37, 37)


def test_indices_beyond_the_end_are_refused():
    source = Embedded("val")
    for index in (40, -1):
        with pytest.raises(IndexError):
            source[index]
        with pytest.raises(IndexError):
            source.mask(index)
    assert sum(1 for _ in source) == 40  # so that a loop over a source ends


def test_an_unknown_split_is_refused():
    with pytest.raises(BadInputError, match="split: wanted 'train' or 'val', got 'test'"):
        Embedded("test")


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setitem(sys.modules, "pooch", None)
    embedded._photograph.cache_clear()
    for split in ("train", "val"):
        Embedded(split)[0]


def test_without_scikit_image_the_way_to_get_it_is_named(monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name.split(".")[0] == "skimage":
            raise ModuleNotFoundError("No module named 'skimage'", name="skimage")
        return real(name, *args, **kwargs)

    embedded._photograph.cache_clear()
    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(BadInputError, match=r"pip install energynets\[experiments\]"):
        Embedded("train")

import io
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from energynets.data import datasets
from energynets.data.datasets import PETS, Tfds
from energynets.errors import BadInputError


def png(array, mode=None):
    stream = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, "png")
    stream.seek(0)
    return stream


def example(index):
    """A grey, palette or RGB picture with a trimap as the pets have them, and scribbles."""
    random = np.random.default_rng(index)
    shape = (20 + index, 26)
    colours = random.integers(0, 256, (*shape, 3), np.uint8)
    trimap = np.full(shape, 2, np.uint8)
    trimap[4:16, 4:18], trimap[6:14, 6:16] = 3, 1
    scribbles = np.full(shape, 255, np.uint8)
    scribbles[10, 8:12], scribbles[1, 3:9] = 1, 0
    return colours, ("RGB", "L", "P")[index % 3], trimap, scribbles


class TinyPets(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "file_name": tfds.features.Text(),
            "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
            "scribbles": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "narrow": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(4)), "test": self._generate_examples([4])}

    def _generate_examples(self, indices):
        for index in indices:
            colours, mode, trimap, scribbles = example(index)
            yield (
                index,
                {
                    "image": png(colours, mode),
                    "file_name": f"cat_{index}.jpg",
                    "species": "Cat",
                    "segmentation_mask": png(trimap),
                    "scribbles": png(scribbles),
                    "narrow": png(scribbles[:, 1:]),
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    datasets.prepare("tiny_pets", data_dir=folder)
    return folder


def test_trimaps_become_masks_and_masks_become_seeds(data_dir):
    source = Tfds("tiny_pets", "train", classes=2, relabel=PETS, data_dir=data_dir)
    assert len(source) == 4 and source.classes == 2
    for index in range(4):
        picture, mask = source[index], source.mask(index)
        colours, mode, trimap, _ = example(index)
        shown = np.asarray(Image.fromarray(colours).convert(mode).convert("RGB"))
        np.testing.assert_array_equal(picture.image, shown.astype(np.float32) / 255)
        np.testing.assert_array_equal(mask == 1, trimap == 1)
        np.testing.assert_array_equal(mask == 0, trimap == 2)
        np.testing.assert_array_equal(mask == 255, trimap == 3)
        seeded = picture.seeds != 255
        np.testing.assert_array_equal(picture.seeds[seeded], mask[seeded])
        assert set(picture.seeds[seeded]) == {0, 1}
        assert picture.name == source.name(index) == f"tiny_pets[train]-{index:06d}"


def test_scribbles_are_taken_where_they_are_named_and_the_mask_is_then_for_reports(data_dir):
    both = Tfds("tiny_pets", "train", classes=4, scribbles="scribbles", data_dir=data_dir)
    alone = Tfds(
        "tiny_pets", "train", classes=2, mask=None, scribbles="scribbles", data_dir=data_dir
    )
    for index in range(4):
        *_, trimap, scribbles = example(index)
        np.testing.assert_array_equal(both[index].seeds, scribbles)
        np.testing.assert_array_equal(both.mask(index), trimap)
        np.testing.assert_array_equal(alone[index].seeds, scribbles)
        assert alone.mask(index) is None


def test_names_and_parts_of_splits_are_read_as_tfds_has_them(data_dir):
    source = Tfds(
        "tiny_pets",
        "train[2:]+test",
        classes=2,
        relabel=PETS,
        title="file_name",
        data_dir=data_dir,
    )
    assert [source.name(i) for i in range(len(source))] == ["cat_2.jpg", "cat_3.jpg", "cat_4.jpg"]
    assert source[0].name == "cat_2.jpg"


def test_any_order_any_thread_and_a_copy_for_another_process_read_the_same(data_dir):
    source = Tfds("tiny_pets", "train", classes=2, relabel=PETS, data_dir=data_dir)
    once = [source[i] for i in range(4)]
    copy = pickle.loads(pickle.dumps(source))
    indices = [3, 1, 0, 2, 2, 3] * 4
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(source.__getitem__, indices)) + [copy[i] for i in indices]
    for index, picture in zip(indices * 2, pictures, strict=True):
        np.testing.assert_array_equal(picture.image, once[index].image)
        np.testing.assert_array_equal(picture.seeds, once[index].seeds)


def test_indices_beyond_the_end_are_refused(data_dir):
    source = Tfds("tiny_pets", "train", classes=2, relabel=PETS, data_dir=data_dir)
    for index in (4, -1):
        with pytest.raises(IndexError):
            source[index]


def test_a_label_out_of_range_is_refused(data_dir):
    source = Tfds("tiny_pets", "train", classes=2, data_dir=data_dir)
    with pytest.raises(
        BadInputError, match=r"tiny_pets\[train\].*wanted labels from 0 to 1.*got [23]"
    ):
        source[0]
    with pytest.raises(BadInputError, match="wanted labels from 0 to 1"):
        source.mask(0)


def test_scribbles_of_another_size_are_refused(data_dir):
    source = Tfds("tiny_pets", "train", classes=2, scribbles="narrow", data_dir=data_dir)
    with pytest.raises(BadInputError, match=r"wanted seeds of the size .* 26×20, got 25×20"):
        source[0]


def test_an_unknown_data_set_split_or_feature_is_refused(data_dir):
    for name in ("no_such_set", "", "../x y", "tiny_pets/none"):
        with pytest.raises(BadInputError, match="wanted a data set that"):
            Tfds(name, "train", classes=2, data_dir=data_dir)
    with pytest.raises(BadInputError, match=r"tiny_pets\[val\]: wanted a split among train, test"):
        Tfds("tiny_pets", "val", classes=2, data_dir=data_dir)
    with pytest.raises(BadInputError, match=r"a feature among image, .*, got 'masque'"):
        Tfds("tiny_pets", "train", classes=2, mask="masque", data_dir=data_dir)
    with pytest.raises(BadInputError, match="wanted a mask or scribbles"):
        Tfds("tiny_pets", "train", classes=2, mask=None, data_dir=data_dir)


def test_files_that_cannot_be_read_by_index_are_refused(data_dir, tmp_path, monkeypatch):
    shutil.copytree(data_dir, tmp_path / "data")
    for path in (tmp_path / "data").rglob("dataset_info.json"):
        path.write_text(path.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(BadInputError, match=r"wanted files of a format .* got .*TFRECORD"):
        Tfds("tiny_pets", "train", classes=2, data_dir=tmp_path / "data")

    def lacking(*args, **kwargs):
        raise ImportError("no array_record here")

    monkeypatch.setattr(TinyPets, "as_data_source", lacking)
    with pytest.raises(BadInputError, match=r"array_record.*pip install energynets\[experiments\]"):
        Tfds("tiny_pets", "train", classes=2, data_dir=data_dir)


@pytest.mark.parametrize("name", ["tiny_pets", "oxford_iiit_pet", "voc_segmentation"])
def test_a_data_set_that_is_not_prepared_says_how_to_prepare_it(tmp_path, name):
    mask = "mask" if name == "voc_segmentation" else "segmentation_mask"
    with pytest.raises(
        BadInputError, match=rf"{name}\[train\]: wanted .* none there; .*prepare\('{name}'\)"
    ):
        Tfds(name, "train", classes=2, mask=mask, data_dir=tmp_path)


def test_a_data_set_that_cannot_be_fetched_is_a_mistake_that_is_named(tmp_path, monkeypatch):
    import requests

    def refuse(*args, **kwargs):
        raise requests.ConnectionError("no route to\nthat host")

    monkeypatch.setattr(requests.Session, "request", refuse)
    with pytest.raises(
        BadInputError, match=r"voc_segmentation: wanted to prepare .*Connection"
    ) as e:
        datasets.prepare("voc_segmentation", data_dir=tmp_path)
    assert "\n" not in str(e.value)


def test_the_features_of_the_real_pets_are_the_ones_that_are_read():
    features = tfds.builder("oxford_iiit_pet").info.features
    assert {"image", "segmentation_mask", "file_name"} <= set(features)

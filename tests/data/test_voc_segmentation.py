import hashlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.core.download import checksums

from energynets.data import datasets, voc_segmentation
from energynets.data.datasets import Tfds
from energynets.errors import BadInputError

NAMES = {"train": ["2007_000032", "2007_000039", "2007_000063"], "val": ["2007_000033"]}


@pytest.fixture
def manual(tmp_path):
    """A folder with a devkit as VOC's, but for the number and the size of its pictures."""
    random = np.random.default_rng(0)
    root = tmp_path / "manual" / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for split, names in NAMES.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for number, name in enumerate(names):
            shape = (24 + number, 30)
            colours = random.integers(0, 256, (*shape, 3), np.uint8)
            Image.fromarray(colours).save(root / "JPEGImages" / f"{name}.jpg")
            labels = np.zeros(shape, np.uint8)
            labels[4:18, 5:20], labels[4:18, 20:22] = 15 + number, 255
            mask = Image.fromarray(labels, "L")
            mask.putpalette(random.integers(0, 256, 768, np.uint8).tolist())
            assert mask.mode == "P"
            mask.save(root / "SegmentationClass" / f"{name}.png")
    return tmp_path / "manual"


def read(data_dir, split):
    return Tfds(
        "voc_segmentation",
        split,
        classes=voc_segmentation.CLASSES,
        mask="mask",
        title="name",
        data_dir=data_dir,
    )


def check(data_dir, root):
    for split, names in NAMES.items():
        source = read(data_dir, split)
        assert [source.name(i) for i in range(len(source))] == names
        for index, name in enumerate(names):
            picture, mask = source[index], source.mask(index)
            image = Image.open(root / "JPEGImages" / f"{name}.jpg")
            np.testing.assert_array_equal(picture.image, np.asarray(image, np.float32) / 255)
            indices = np.asarray(Image.open(root / "SegmentationClass" / f"{name}.png"))
            np.testing.assert_array_equal(mask, indices)
            seeded = picture.seeds != 255
            np.testing.assert_array_equal(picture.seeds[seeded], mask[seeded])
            assert set(np.unique(picture.seeds)) == {0, 15 + index, 255}


def test_an_unpacked_devkit_is_prepared_and_read_in_the_order_of_its_lists(manual, tmp_path):
    datasets.prepare("voc_segmentation", data_dir=tmp_path / "data", manual_dir=manual)
    check(tmp_path / "data", manual / "VOCdevkit" / "VOC2012")


def test_an_archive_fetched_by_hand_is_checked_and_unpacked(manual, tmp_path, monkeypatch):
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    archive = by_hand / voc_segmentation.ARCHIVE
    with tarfile.open(archive, "w") as tar:
        tar.add(manual / "VOCdevkit", "VOCdevkit")
    content = archive.read_bytes()
    info = checksums.UrlInfo(
        size=len(content),
        checksum=hashlib.sha256(content).hexdigest(),
        filename=voc_segmentation.ARCHIVE,
    )
    builder = voc_segmentation.VocSegmentation
    with pytest.raises(
        BadInputError, match=r"voc_segmentation: wanted to prepare it .*[Cc]hecksum"
    ):
        datasets.prepare("voc_segmentation", data_dir=tmp_path / "data", manual_dir=by_hand)
    monkeypatch.setattr(builder, "url_infos", {voc_segmentation.URL: info})
    datasets.prepare("voc_segmentation", data_dir=tmp_path / "data", manual_dir=by_hand)
    check(tmp_path / "data", manual / "VOCdevkit" / "VOC2012")


@pytest.mark.parametrize(
    "missing",
    [
        "ImageSets/Segmentation/val.txt",
        "JPEGImages/2007_000039.jpg",
        "SegmentationClass/2007_000033.png",
    ],
)
def test_a_file_that_the_devkit_lacks_is_named(manual, tmp_path, missing):
    (manual / "VOCdevkit" / "VOC2012" / missing).unlink()
    with pytest.raises(BadInputError, match=rf"{missing}: wanted .* got no such file"):
        datasets.prepare("voc_segmentation", data_dir=tmp_path / "data", manual_dir=manual)


def test_preparing_and_reading_import_neither_tensorflow_nor_jax(manual, tmp_path):
    data_dir = tmp_path / "data"
    script = f"""
import sys
from energynets.data import datasets
datasets.prepare("voc_segmentation", data_dir={str(data_dir)!r}, manual_dir={str(manual)!r})
source = datasets.Tfds(
    "voc_segmentation", "train", classes=21, mask="mask", data_dir={str(data_dir)!r}
)
assert source[0].image.any()
for name in ("tensorflow", "jax", "flax"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)

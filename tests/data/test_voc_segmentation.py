import functools
import hashlib
import http.server
import subprocess
import sys
import tarfile
import threading

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


def plain(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def check(data_dir, root):
    for split, names in NAMES.items():
        source = read(data_dir, split)
        assert [source.name(i) for i in range(len(source))] == names
        for index, name in enumerate(names):
            picture, mask = source[index], source.mask(index)
            image = plain(root / "JPEGImages" / f"{name}.jpg")
            np.testing.assert_array_equal(picture.image, image.astype(np.float32) / 255)
            indices = plain(root / "SegmentationClass" / f"{name}.png")
            np.testing.assert_array_equal(mask, indices)
            seeded = picture.seeds != 255
            np.testing.assert_array_equal(picture.seeds[seeded], mask[seeded])
            assert set(np.unique(picture.seeds)) == {0, 15 + index, 255}


def test_an_unpacked_devkit_is_prepared_and_read_in_the_order_of_its_lists(manual, tmp_path):
    datasets.prepare("voc_segmentation", data_dir=tmp_path / "data", manual_dir=manual)
    check(tmp_path / "data", manual / "VOCdevkit" / "VOC2012")


@pytest.fixture
def archive(manual, tmp_path):
    """The same devkit packed, alone in a folder."""
    path = tmp_path / "packed" / voc_segmentation.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        tar.add(manual / "VOCdevkit", "VOCdevkit")
    return path


def accept(archive, url, monkeypatch):
    content = archive.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    info = checksums.UrlInfo(size=len(content), checksum=digest, filename=archive.name)
    monkeypatch.setattr(voc_segmentation, "URL", url)
    monkeypatch.setattr(voc_segmentation.VocSegmentation, "url_infos", {url: info})


def test_an_archive_fetched_by_hand_is_read_as_it_lies(manual, archive, tmp_path, monkeypatch):
    accept(archive, voc_segmentation.URL, monkeypatch)
    datasets.prepare("voc_segmentation", data_dir=tmp_path / "data", manual_dir=archive.parent)
    check(tmp_path / "data", manual / "VOCdevkit" / "VOC2012")


def test_an_archive_of_another_checksum_than_the_published_one_is_refused(archive, tmp_path):
    with pytest.raises(BadInputError, match=r"voc_segmentation: wanted to prepare .* checksum"):
        datasets.prepare("voc_segmentation", data_dir=tmp_path / "data", manual_dir=archive.parent)


def test_without_either_the_archive_is_downloaded(manual, archive, tmp_path, monkeypatch):
    handler = functools.partial(QuietHandler, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        accept(archive, f"http://127.0.0.1:{server.server_port}/{archive.name}", monkeypatch)
        datasets.prepare("voc_segmentation", data_dir=tmp_path / "data")
        server.shutdown()
    check(tmp_path / "data", manual / "VOCdevkit" / "VOC2012")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


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


def test_preparing_and_reading_do_not_import_tensorflow(manual, tmp_path):
    data_dir = tmp_path / "data"
    script = f"""
import sys
from energynets.data import datasets
datasets.prepare("voc_segmentation", data_dir={str(data_dir)!r}, manual_dir={str(manual)!r})
source = datasets.Tfds(
    "voc_segmentation", "train", classes=21, mask="mask", data_dir={str(data_dir)!r}
)
assert source[0].image.any()
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)

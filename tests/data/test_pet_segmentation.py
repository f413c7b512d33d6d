import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from energynets.data import datasets, opening
from energynets.data.pet_segmentation import PetSegmentation
from energynets.errors import BadInputError

NAMES = {"trainval": ["Abyssinian_1", "beagle_116"], "test": ["pug_7"]}


@pytest.fixture
def manual(tmp_path):
    """The folders of the pets, but for the number and the size of the pictures."""
    random = np.random.default_rng(0)
    root = tmp_path / "manual"
    (root / "images").mkdir(parents=True)
    (root / "annotations" / "trimaps").mkdir(parents=True)
    for split, names in NAMES.items():
        lines = "".join(f"{name} 1 1 1\n" for name in names)
        (root / "annotations" / f"{split}.txt").write_text(lines)
        for name in names:
            colours = random.integers(0, 256, (20, 24, 3), np.uint8)
            # One that is called a JPEG and is none, as some of the real ones.
            kind = "png" if name == "beagle_116" else "jpeg"
            Image.fromarray(colours).save(root / "images" / f"{name}.jpg", kind)
            trimap = np.full((20, 24), 2, np.uint8)
            trimap[4:16, 4:16], trimap[4:16, 16:18] = 1, 3
            Image.fromarray(trimap).save(root / "annotations" / "trimaps" / f"{name}.png")
    return root


def opened(data_dir, split):
    settings = {
        **opening.DEFAULTS,
        "source": "tfds",
        "name": "pet_segmentation",
        "classes": 2,
        "root": str(data_dir),
    }
    return opening.open_source(settings, split)[0]


def check(data_dir, root):
    for split, names in (("train", NAMES["trainval"]), ("test", NAMES["test"])):
        source = opened(data_dir, split)
        assert [source.name(i) for i in range(len(source))] == names
        for index, name in enumerate(names):
            with Image.open(root / "images" / f"{name}.jpg") as image:
                expected = np.asarray(image, np.float32) / 255
            np.testing.assert_array_equal(source[index].image, expected)
            mask = source.mask(index)
            assert (mask[4:16, 4:16] == 1).all() and (mask[4:16, 16:18] == 255).all()
            assert (mask[:4] == 0).all()
            assert set(np.unique(source[index].seeds)) == {0, 1, 255}


def test_unpacked_pets_are_prepared_and_read_in_the_order_of_their_lists(manual, tmp_path):
    datasets.prepare("pet_segmentation", data_dir=tmp_path / "data", manual_dir=manual)
    check(tmp_path / "data", manual)


def test_the_archives_are_read_as_they_lie(manual, tmp_path, monkeypatch):
    packed = tmp_path / "packed"
    packed.mkdir()
    for part in ("annotations", "images"):
        with tarfile.open(packed / f"{part}.tar.gz", "w:gz") as tar:
            tar.add(manual / part, part)
    builder = PetSegmentation(data_dir=tmp_path / "data", file_format="array_record")
    origins = {part: packed / f"{part}.tar.gz" for part in ("annotations", "images")}
    examples = [e for _, e in builder._generate_examples(origins, "train")]
    assert [e["file_name"] for e in examples] == NAMES["trainval"]
    assert examples[0]["image"].read() == (manual / "images" / "Abyssinian_1.jpg").read_bytes()


def test_a_missing_file_is_named(manual, tmp_path):
    (manual / "annotations" / "trimaps" / "pug_7.png").unlink()
    with pytest.raises(BadInputError, match=r"trimaps/pug_7\.png: wanted .* got no such file"):
        datasets.prepare("pet_segmentation", data_dir=tmp_path / "data", manual_dir=manual)


def test_preparing_and_reading_do_not_import_tensorflow(manual, tmp_path):
    data_dir = tmp_path / "data"
    script = f"""
import sys
from energynets.data import datasets
datasets.prepare("pet_segmentation", data_dir={str(data_dir)!r}, manual_dir={str(manual)!r})
source = datasets.Tfds("pet_segmentation", "train", classes=4, data_dir={str(data_dir)!r})
assert source[0].image.any()
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from energynets.data import datasets, opening
from energynets.data.embedded import Embedded
from energynets.data.folder import Folder
from energynets.data.masks import SeedsFromMasks
from energynets.errors import BadInputError


def settings(**changed):
    assert changed.keys() <= opening.DEFAULTS.keys()
    return {**opening.DEFAULTS, **changed}


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("images", "scribbles", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("one", "two", "three"):
        colours = random.integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(colours).save(tmp_path / "images" / f"{name}.png")
        mask = np.zeros((20, 20), np.uint8)
        mask[5:15, 5:15] = 1
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
        seeds = np.full((20, 20), 255, np.uint8)
        seeds[10, 8:12], seeds[1, 2:18] = 1, 0
        Image.fromarray(seeds).save(tmp_path / "scribbles" / f"{name}.png")
    (tmp_path / "train.txt").write_text("one\ntwo\nthree\n")
    return tmp_path


def test_embedded_pictures_need_no_folder():
    source, broken = opening.open_source(settings(), "val")
    assert isinstance(source, Embedded) and source.split == "val" and broken == []


def test_a_folder_is_read_once_and_counted(root):
    totals = []
    source, broken = opening.open_source(
        settings(source="folder", root=str(root), classes=2), "train", advance=totals.append
    )
    assert isinstance(source, Folder) and source.classes == 2 and broken == []
    assert totals == [3, 3, 3]


def test_seeds_can_be_made_from_masks(root):
    shutil.rmtree(root / "scribbles")
    source, _ = opening.open_source(
        settings(source="folder", root=str(root), classes=2, seeds="masks"), "train"
    )
    assert isinstance(source, SeedsFromMasks)
    assert set(np.unique(source[0].seeds)) == {0, 1, 255}


@pytest.mark.parametrize("made", ["scribbles", "masks"])
def test_a_folder_that_seeds_need_is_named_and_nothing_else_recommended(root, made):
    shutil.rmtree(root / made)
    with pytest.raises(BadInputError, match=rf"/{made}: wanted a folder of {made}, got") as told:
        opening.open_source(settings(source="folder", root=str(root), seeds=made), "train")
    assert "skip_broken" not in str(told.value)


def test_the_scribbles_without_a_seed_are_named_by_file(root):
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(root / "scribbles" / "two.png")
    with pytest.raises(BadInputError, match=r"/scribbles/two\.png: wanted at least one seed"):
        opening.open_source(settings(source="folder", root=str(root), classes=2), "train")


def test_two_class_problems_of_objects_need_masks_and_those_of_classes_scribbles(root):
    def names(problems):
        wanted = settings(source="folder", root=str(root), classes=2, problems=problems)
        source, _ = opening.open_source(wanted, "train")
        assert source.classes == 2
        return [source[i].name for i in range(len(source))]

    assert names("classes") == ["one label 1", "two label 1", "three label 1"]
    shutil.rmtree(root / "scribbles")
    assert names("objects") == ["one object 1", "two object 1", "three object 1"]
    shutil.rmtree(root / "masks")
    with pytest.raises(BadInputError, match=r"/masks: wanted a folder of masks"):
        names("objects")
    assert opening.UNITS.keys() == {"labels", "objects", "classes"}


def test_embedded_pictures_can_be_divided_and_are_not_where_no_seeds_are_wanted():
    objects, _ = opening.open_source(settings(problems="objects"), "val")
    classes, _ = opening.open_source(settings(problems="classes"), "val")
    assert objects.classes == classes.classes == 2
    assert len(objects) > 40 and len(classes) > 40
    whole, _ = opening.open_source(settings(problems="objects"), "val", needs_seeds=False)
    assert isinstance(whole, Embedded)


@pytest.mark.parametrize("made", ["scribbles", "masks"])
def test_a_task_without_seeds_needs_neither_scribbles_nor_masks(root, made):
    shutil.rmtree(root / "scribbles")
    shutil.rmtree(root / "masks")
    wanted = settings(source="folder", root=str(root), classes=2, seeds=made)
    source, broken = opening.open_source(wanted, "train", needs_seeds=False)
    assert len(source) == 3 and broken == []


def test_masks_are_read_beforehand_where_that_is_asked_for(root):
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(root / "masks" / "two.png")
    wanted = settings(source="folder", root=str(root), classes=2)
    assert len(opening.open_source(wanted, "train")[0]) == 3
    with pytest.raises(BadInputError, match=r"masks/two\.png: wanted the size of its image"):
        opening.open_source(wanted, "train", masks=True)
    source, broken = opening.open_source({**wanted, "skip_broken": True}, "train", masks=True)
    assert [source.name(i) for i in range(len(source))] == ["one", "three"] and len(broken) == 1


def test_a_truncated_picture_is_named_or_left_out(root):
    path = root / "images" / "two.png"
    path.write_bytes(path.read_bytes()[:200])
    wanted = settings(source="folder", root=str(root), classes=2)
    with pytest.raises(BadInputError, match=r"two\.png: wanted a readable image, .*skip_broken"):
        opening.open_source(wanted, "train")
    source, broken = opening.open_source({**wanted, "skip_broken": True}, "train")
    assert [source.name(i) for i in range(len(source))] == ["one", "three"]
    assert len(broken) == 1 and "two.png" in broken[0]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"source": "web"},
            r"config\.data\.source: wanted embedded, folder, camvid, bsds500 or tfds, got 'web'",
        ),
        ({"seeds": "dots"}, r"config\.data\.seeds: wanted scribbles or masks, got 'dots'"),
        (
            {"problems": "one"},
            r"config\.data\.problems: wanted labels, objects or classes, got 'on",
        ),
        ({"classes": 0}, r"config\.data\.classes: wanted 1 to 255, got 0"),
        ({"classes": 256}, r"config\.data\.classes: wanted 1 to 255, got 256"),
        ({"source": "folder", "root": "nowhere"}, r"nowhere/images: wanted a folder of images"),
    ],
)
def test_a_setting_of_no_known_kind_is_refused(changed, told):
    with pytest.raises(BadInputError, match=told):
        opening.open_source(settings(**changed), "train")


def test_an_unknown_split_of_the_embedded_pictures_is_refused():
    with pytest.raises(BadInputError, match=r"split: wanted 'train' or 'val', got 'test'"):
        opening.open_source(settings(), "test")


class Prepared:
    """In place of a TFDS data set: the second picture cannot be read."""

    classes = 2

    def __init__(self, name, split, **how):
        self._picture = Embedded(split)[0]

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 1:
            raise BadInputError("pets[train] b: wanted a readable image, got: truncated")
        return self._picture

    def name(self, index):
        return "abc"[index]

    def mask(self, index):
        return None


def test_pictures_of_tfds_are_read_once_beforehand_too(monkeypatch):
    monkeypatch.setattr(datasets, "Tfds", Prepared)
    totals = []
    with pytest.raises(BadInputError, match=r"^pets\[train\] b: .*skip_broken"):
        opening.open_source(settings(source="tfds"), "train")
    wanted = settings(source="tfds", skip_broken=True)
    source, broken = opening.open_source(wanted, "train", advance=totals.append)
    assert [source.name(i) for i in range(len(source))] == ["a", "c"]
    assert len(broken) == 1 and totals == [3, 3, 3]


def test_an_unprepared_tfds_data_set_is_refused_by_name(tmp_path):
    with pytest.raises(BadInputError, match=r"^pet_segmentation\[train\]: wanted a data set"):
        opening.open_source(settings(source="tfds", root=str(tmp_path), classes=2), "train")


def test_camvid_and_bsds500_are_read_as_they_are_published(root):
    (root / "masks").rename(root / "labels")
    (root / "groundTruth").mkdir()
    people = np.empty((1, 1), object)
    people[0, 0] = {"Boundaries": np.eye(20, dtype=np.uint8)}
    for name in ("one", "two", "three"):
        path = root / "groundTruth" / f"{name}.mat"
        savemat(path, {"groundTruth": people}, do_compression=True)
    shutil.rmtree(root / "scribbles")
    for kind, classes, truth in (("camvid", 11, "labels/two.png"), ("bsds500", 2, "Truth/two.mat")):
        wanted = settings(source=kind, root=str(root))
        source, broken = opening.open_source(wanted, "train", needs_seeds=False, masks=True)
        assert source.classes == classes and len(source) == 3 and broken == []
        assert (source[0].seeds == 255).all() and set(np.unique(source.mask(0))) == {0, 1}
        with pytest.raises(BadInputError, match=r"/scribbles: wanted a folder of scribbles"):
            opening.open_source(wanted, "train")
        seeded, _ = opening.open_source({**wanted, "seeds": "masks"}, "train")
        assert (seeded[0].seeds != 255).any()
        next(root.glob(f"*{truth}")).write_bytes(b"MATLAB 5.0 MAT-file")
        with pytest.raises(BadInputError, match=rf"{truth}: wanted .*skip_broken"):
            opening.open_source(wanted, "train", needs_seeds=False, masks=True)
        wanted["skip_broken"] = True
        source, broken = opening.open_source(wanted, "train", needs_seeds=False, masks=True)
        assert len(source) == 2 and len(broken) == 1

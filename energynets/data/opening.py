"""Sources from the plain strings of a config."""

from collections.abc import Callable, Mapping
from typing import Any

from energynets.data.checked import checked
from energynets.data.source import Source
from energynets.errors import BadInputError

DEFAULTS = {
    "source": "embedded",  # embedded, folder, camvid, bsds500, tfds
    "root": "",  # of a folder or a data set, or where TFDS keeps prepared ones
    "name": "pet_segmentation",  # of a TFDS data set
    "train": "train",  # splits
    "validation": "val",
    "classes": 21,  # of a folder or a TFDS data set; the other sources know theirs
    "seeds": "scribbles",  # or "masks": one line or circle an object, as in the preprint
    "problems": "labels",  # or two-class ones: "objects" (of masks), "classes" (of seeds)
    "skip_broken": False,  # leave out pictures that cannot be used, and say which
}

# What one index of a source stands for, by config.data.problems.
UNITS = {
    "labels": "pictures",
    "objects": "two-class problems, one an object,",
    "classes": "two-class problems, one a seeded class,",
}


def open_source(
    settings: Mapping[str, Any],
    split: str,
    *,
    needs_seeds: bool = True,
    masks: bool = False,
    needs_masks: bool = False,
    advance: Callable[[int], None] = lambda total: None,
) -> tuple[Source, list[str]]:
    """The pictures of `split` that `settings` name, each read once beforehand, or their problems.

    Returns the source and what was wrong with each picture left out; see `DEFAULTS` for the keys.

    Args:
        needs_seeds: a picture without any seed cannot be used; if False, `problems` is ignored.
        masks: the masks are read once beforehand as well.
        needs_masks: they are, and a picture of a folder without one cannot be used.
        advance: called with the number of pictures for each that was looked at.

    Raises:
        BadInputError: if a key of config.data has a value that is not one of its kind, or a
            picture cannot be used and `skip_broken` is not set.
    """
    kind, made, problems = settings["source"], settings["seeds"], settings["problems"]
    if made not in ("scribbles", "masks"):
        raise BadInputError(f"config.data.seeds: wanted scribbles or masks, got {made!r}")
    if problems not in ("labels", "objects", "classes"):
        wanted = "labels, objects or classes"
        raise BadInputError(f"config.data.problems: wanted {wanted}, got {problems!r}")
    if not 1 <= settings["classes"] <= 255:  # labels are bytes, and 255 stands for none
        raise BadInputError(f"config.data.classes: wanted 1 to 255, got {settings['classes']}")
    if kind == "embedded":
        from energynets.data.embedded import Embedded

        return _divided(Embedded(split), problems if needs_seeds else "labels"), []
    if kind == "tfds":
        source, place = _tfds(settings, split), str
    elif kind in ("folder", "camvid", "bsds500"):
        source, place = _folder(settings, split, needs_seeds=needs_seeds, needs_masks=needs_masks)
    else:
        wanted = "embedded, folder, camvid, bsds500 or tfds"
        raise BadInputError(f"config.data.source: wanted {wanted}, got {kind!r}")
    total = len(source)
    source, faults = checked(
        source,
        skip_broken=settings["skip_broken"],
        needs_seeds=needs_seeds,
        masks=masks or needs_masks,
        place=place,
        advance=lambda: advance(total),
    )
    return _divided(source, problems if needs_seeds else "labels"), faults


def _tfds(settings: Mapping[str, Any], split: str) -> Source:
    from energynets.data.datasets import PETS, Tfds

    name = settings["name"]
    features: dict[str, Any] = {}
    if name in ("oxford_iiit_pet", "pet_segmentation"):
        features = {"relabel": PETS, "title": "file_name"}
    elif name == "voc_segmentation":
        features = {"mask": "mask", "title": "name"}
    place = settings["root"] or None
    return Tfds(name, split, classes=settings["classes"], data_dir=place, **features)


def _folder(
    settings: Mapping[str, Any], split: str, *, needs_seeds: bool, needs_masks: bool
) -> tuple[Source, Callable[[str], str]]:
    """The folder with the seeds that are wanted, and where those of a picture's name lie."""
    from energynets.data.bsds500 import BSDS500
    from energynets.data.camvid import camvid
    from energynets.data.folder import Folder
    from energynets.data.masks import SeedsFromMasks

    root = settings["root"]
    if not root:
        raise BadInputError("config.data.root: wanted a folder of pictures, got ''")
    if settings["source"] == "folder":
        folder = Folder(root, split, classes=settings["classes"], whole=needs_masks)
    else:
        folder = camvid(root, split) if settings["source"] == "camvid" else BSDS500(root, split)
    made = "masks" if settings["problems"] == "objects" else settings["seeds"]
    seeded = folder.masks if made == "masks" else folder.scribbles
    if needs_seeds and not seeded.is_dir():
        raise BadInputError(
            f"{seeded}: wanted a folder of {made}, got no such folder (config.data.seeds says "
            "whether seeds come from scribbles or from masks; config.data.problems=objects needs "
            "masks)"
        )
    if needs_seeds and made == "masks":
        return SeedsFromMasks(folder), lambda name: str(folder.mask_path(name))
    return folder, lambda name: str(seeded / f"{name}.png")


def _divided(source: Source, problems: str) -> Source:
    """One problem for each picture, object or class."""
    from energynets.data.problems import Classes, Objects

    if problems == "objects":
        return Objects(source)
    return Classes(source) if problems == "classes" else source

"""CamVid: street scenes with a label at each pixel, as the 480×360 version of SegNet gives them."""

from pathlib import Path

from energynets.data.folder import Folder

CLASSES = 11  # sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist


def camvid(root: str | Path, split: str) -> Folder:
    """`ROOT/images/NAME.png`, `ROOT/labels/NAME.png` of 0 to 10, 11 where void, `ROOT/SPLIT.txt`.

    Every picture has its labels; nothing is seeded unless there is `ROOT/scribbles/`.

    Raises:
        BadInputError: as `Folder`; while reading, if the labels of a picture are missing.

    Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video: a high-definition ground
    truth database"; the labels of Badrinarayanan, Kendall, Cipolla, "SegNet".
    """
    return Folder(root, split, classes=CLASSES, masks="labels", void=CLASSES, whole=True)

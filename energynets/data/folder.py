"""A folder of pictures with seeds: `images/`, `scribbles/`, `masks/` where known, split lists."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from energynets.data import images
from energynets.data.source import NO_SEED, VOID, Picture
from energynets.errors import BadInputError

_ENDINGS = (".png", ".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG")


class Folder:
    """`ROOT/images/NAME.jpg`, `ROOT/scribbles/NAME.png`, `ROOT/masks/NAME.png`, `ROOT/SPLIT.txt`.

    Images of any size, JPEG or PNG, 8 or 16 bit, grey, palette, RGB or RGBA. Scribbles and masks
    hold the label of each pixel as a grey value or palette index, 255 where there is none. The
    split list names one picture a line. Without `scribbles/` the seeds are empty maps.

    Args:
        masks, ending: the folder of the masks, and how their names end.
        void: a further value of masks that stands for no label.
        whole: every picture has a mask, so that a missing one is an error; else it is None.

    Raises:
        BadInputError: if there is no such folder or list; while reading, naming the file, if one
            is missing or unreadable, or is not such a map of its image's size.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        classes: int,
        masks: str = "masks",
        ending: str = ".png",
        void: int = VOID,
        whole: bool = False,
    ):
        self.root = Path(root)
        self.classes = classes
        self.masks, self.scribbles = self.root / masks, self.root / "scribbles"
        self._ending, self._void, self._whole = ending, void, whole
        folder = self.root / "images"
        if not folder.is_dir():
            raise BadInputError(f"{folder}: wanted a folder of images, got no such folder")
        listing = self.root / f"{split}.txt"
        if listing.is_file():
            names = _names(listing)
        else:
            known = sorted(p.name for p in self.root.glob("*.txt"))
            raise BadInputError(
                f"{listing}: wanted a list of the pictures of split {split!r}, one name a line, "
                f"got no such file{' beside ' + ', '.join(known) if known else ''}"
            )
        if not names:
            raise BadInputError(f"{listing}: wanted at least one picture, got an empty list")
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index]

    def _image_path(self, name: str) -> Path:
        for ending in _ENDINGS:
            path = self.root / "images" / (name + ending)
            if _is_file(path):
                return path
        # A list written by hand may hold endings, or all names in one line.
        hint = "; the list has names without endings" if name.endswith(_ENDINGS) else ""
        raise BadInputError(
            f"{self.root / 'images' / name[:200]}: wanted an image ending in .png, .jpg or .jpeg, "
            f"got no such file{hint}"
        )

    def __getitem__(self, index: int) -> Picture:
        name = self._names[index]
        path = self._image_path(name)
        image = images.read_image(path)
        if not self.scribbles.is_dir():
            return Picture(name, image, np.full(image.shape[:2], NO_SEED, np.uint8))
        path = self.scribbles / f"{name}.png"
        return Picture(name, image, self._checked(path, images.read_labels(path), image))

    def mask_path(self, name: str) -> Path:
        return self.masks / f"{name}{self._ending}"

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        name = self._names[index]
        path = self.mask_path(name)
        if not self._whole and not _is_file(path):
            return None
        return self._checked(path, self._mask(path), images.read_image(self._image_path(name)))

    def _mask(self, path: Path) -> UInt8[np.ndarray, "h w"]:
        labels = images.read_labels(path)
        return np.where(labels == self._void, np.uint8(VOID), labels)

    def _checked(
        self, path: Path, labels: UInt8[np.ndarray, "h w"], image: Float32[np.ndarray, "h w 3"]
    ) -> UInt8[np.ndarray, "h w"]:
        shape = image.shape[:2]
        if labels.shape != shape:
            raise BadInputError(
                f"{path}: wanted the size of its image, {shape[1]}×{shape[0]}, "
                f"got {labels.shape[1]}×{labels.shape[0]}"
            )
        wrong = labels[(labels >= self.classes) & (labels != NO_SEED)]
        if wrong.size:
            raise BadInputError(
                f"{path}: wanted labels from 0 to {self.classes - 1}, or 255 for none, "
                f"got {int(wrong[0])}"
            )
        return labels


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than names may be
        return False


def _names(listing: Path) -> list[str]:
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadInputError(f"{listing}: wanted UTF-8 text, got other bytes") from None
    return [line.strip() for line in lines if line.strip()]

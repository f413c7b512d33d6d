"""Pictures with trimaps and true mattes, for measuring."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from energynets.data import trimaps
from energynets.data.embedded import Embedded
from energynets.data.images import read_image
from energynets.data.planes import read_grey
from energynets.errors import BadInputError

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_WIDTHS = {"narrow": 4.0, "wide": 10.0}


class Known(NamedTuple):
    """kind: which of several trimaps of the picture this is. alpha: the truth, in [0, 1]."""

    name: str
    kind: str
    image: Float32[np.ndarray, "h w 3"]
    trimap: UInt8[np.ndarray, "h w"]
    alpha: Float32[np.ndarray, "h w"]


class MatteSource(Protocol):
    """Pictures with trimaps and truth by index, always the same at the same index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Known: ...


class Mattes:
    """`ROOT/images/NAME.png`, `ROOT/alphas/NAME.png` and one or more `ROOT/trimaps…/NAME.png`.

    Every trimap of a picture is an entry of its own, of the kind that its folder is named. This is
    how alphamatting.com's pictures lie.

    Raises:
        BadInputError: if there is no picture with trimap and alpha; while reading, if one cannot
            be read or sizes differ.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        folders = sorted(p for p in self.root.glob("trimaps*") if p.is_dir())
        of = {name: self._pictures(name) for name in ("images", "alphas")}
        self._entries = []
        for folder in folders:
            for stem, path in self._pictures(folder.name).items():
                if stem in of["images"] and stem in of["alphas"]:
                    paths = of["images"][stem], path, of["alphas"][stem]
                    self._entries.append((stem, folder.name, paths))
        if not self._entries:
            raise BadInputError(
                f"{self.root}: wanted pictures of the same names in images/, alphas/ and "
                "trimaps/, got none"
            )

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Known:
        name, kind, (image, trimap, alpha) = self._entries[index]
        known = Known(
            name,
            kind,
            read_image(image),
            trimaps.read_trimap(trimap),
            read_grey(alpha).values.astype(np.float32) / 255,
        )
        height, width = known.image.shape[:2]
        for path, plane in ((trimap, known.trimap), (alpha, known.alpha)):
            if plane.shape != (height, width):
                raise BadInputError(
                    f"{path}: wanted the size of its image, {width}×{height}, got "
                    f"{plane.shape[1]}×{plane.shape[0]}"
                )
        return known

    def _pictures(self, name: str) -> dict[str, Path]:
        folder = self.root / name
        if not folder.is_dir():
            return {}
        return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in ENDINGS}


class EmbeddedMattes:
    """The embedded pictures of "val" with the alpha of what lies over label 0.

    Two trimaps each, of a narrow and a wide band around where alpha is neither 0 nor 1.
    """

    def __init__(self, *, size: int = 128):
        self._source = Embedded("val", size=size)

    def __len__(self) -> int:
        return len(_WIDTHS) * len(self._source)

    def __getitem__(self, index: int) -> Known:
        picture, which = divmod(index, len(_WIDTHS))
        kind = list(_WIDTHS)[which]
        alpha = self._source.alpha(picture)
        levels = np.select([alpha <= 0, alpha >= 1], [0, 255], 128).astype(np.uint8)
        trimap = trimaps.from_mask(levels, _WIDTHS[kind])
        of = self._source[picture]
        return Known(of.name, kind, of.image, trimap, alpha.astype(np.float32))

"""Hazy photographs, pairs of hazy and clear ones, and haze made on clear ones by its model."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32
from PIL import Image

from energynets.data.images import read_image
from energynets.data.source import Source
from energynets.errors import BadInputError

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

Picture = Float32[np.ndarray, "h w 3"]


class Pair(NamedTuple):
    """A hazy picture, and the same without haze where that is known; both H×W×3 in [0, 1]."""

    name: str
    hazy: Picture
    clear: Picture | None


class HazySource(Protocol):
    """Hazy pictures by index, always the same at the same index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...


class Photographs:
    """`ROOT/hazy/NAME.jpg` and `ROOT/clear/NAME.png`, or all pictures of ROOT itself, without.

    `longest` is what the longer side is reduced to at most, by Lanczos; 0 for no reduction.

    Raises:
        BadInputError: if there are none; while reading, if one cannot be read or the two differ in
            size.
    """

    def __init__(self, root: str | Path, *, longest: int = 620):
        self.root, self._longest = Path(root), longest
        folder = self.root / "hazy" if (self.root / "hazy").is_dir() else self.root
        if not folder.is_dir():
            raise BadInputError(f"{folder}: wanted a folder of pictures, got no such folder")
        self._hazy = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
        if not self._hazy:
            raise BadInputError(f"{folder}: wanted at least one picture, got none")
        clear = self.root / "clear"
        of = {p.stem: p for p in clear.iterdir()} if clear.is_dir() else {}
        self._clear = [of.get(path.stem) for path in self._hazy]

    def __len__(self) -> int:
        return len(self._hazy)

    def __getitem__(self, index: int) -> Pair:
        hazy, clear = self._hazy[index], self._clear[index]
        picture = self._read(hazy)
        truth = None if clear is None else self._read(clear)
        if truth is not None and truth.shape != picture.shape:
            raise BadInputError(
                f"{clear}: wanted the size of its hazy picture, {picture.shape[1]}×"
                f"{picture.shape[0]}, got {truth.shape[1]}×{truth.shape[0]}"
            )
        return Pair(hazy.stem, picture, truth)

    def _read(self, path: Path) -> Picture:
        image = read_image(path)
        height, width = image.shape[:2]
        if not self._longest or max(height, width) <= self._longest:
            return image
        scale = self._longest / max(height, width)
        size = round(width * scale), round(height * scale)
        small = Image.fromarray(np.rint(image * 255).astype(np.uint8)).resize(
            size, Image.Resampling.LANCZOS
        )
        return np.asarray(small, np.float32) / 255


class Made:
    """The pictures of a source with haze made by `add_haze`, always the same one at an index."""

    def __init__(self, source: Source):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Pair:
        picture = self._source[index]
        hazy = add_haze(picture.image, np.random.default_rng((20244, index)))
        return Pair(picture.name, hazy, picture.image)


def add_haze(clear: Picture, random: np.random.Generator) -> Picture:
    """t J + (1 - t) A with t = exp(-β d): a smooth depth d that is made up, not measured.

    d is the sum of a ramp in a random direction that mostly grows upwards, as in open country, and
    of smooth noise, both in [0, 1], and begins at a distance of up to 0.6 from the camera, as in
    rooms and in fog; β lies between 0.4 and 1.8. A is a grey between 0.65 and 1 whose channels
    differ by up to 0.04 from it.
    """
    height, width = clear.shape[:2]
    angle = random.normal(0, 0.5)
    rows, columns = np.meshgrid(
        np.linspace(0.5, -0.5, height), np.linspace(-0.5, 0.5, width), indexing="ij"
    )
    ramp = rows * np.cos(angle) + columns * np.sin(angle) + 0.5
    cells = Image.fromarray(random.random((4, 4)).astype(np.float32))
    noise = np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC))
    depth = np.clip(0.65 * ramp + 0.35 * noise, 0, 1)
    nearest = random.uniform(0, 0.6)
    depth = nearest + (1 - nearest) * depth
    t = np.exp(-random.uniform(0.4, 1.8) * depth)[..., None]
    air = np.clip(random.uniform(0.65, 1) + random.uniform(-0.04, 0.04, 3), 0, 1)
    return (t * clear + (1 - t) * air).astype(np.float32)

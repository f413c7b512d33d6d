"""Pictures with known masks and alphas, composed of photographs that scikit-image carries in its
wheel: real textures, smooth shapes, nothing to download."""

import functools

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from energynets.data import masks
from energynets.data.source import VOID, Picture
from energynets.errors import BadInputError

# Photographs, not crops, are shared out, so that no pixel of a validation picture is trained on.
# All are in the public domain; all load without `pooch`, that is from the wheel alone.
_PHOTOGRAPHS = {
    "train": ("astronaut", "brick", "cat", "hubble_deep_field", "immunohistochemistry", "retina"),
    "val": ("camera", "coffee", "moon", "rocket"),
}
_LENGTHS = {"train": 400, "val": 40}
_SALT = 20240

_CANDIDATES = 8  # crops looked at for each region
_CONTRAST = 0.35  # wanted distance in RGB between the mean colours of any two regions
_LARGEST = 2.5  # a crop's side, in units of the picture's, before it is shrunk to it
_SOFT = (1.0, 3.0)  # pixels over which coverage goes from 0 to 1 at a region's border


class Embedded:
    """Two to four regions of different photographs laid over one another, with soft borders.

    Label 0 is the picture that lies below, 1 to 3 are blobs laid over it in turn; a picture is
    the sum over its regions of coverage times texture. Its mask is void (255) where no region
    covers a pixel wholly. Seeds are one marker for each connected part (`masks.from_mask`, drawn
    from the true mask). The regions' mean colours lie well apart, so that an energy that is
    steered by differences of colour can find the borders; inside, the textures are as they are.

    Picture i of a split follows from (split, i, size) alone, for given releases of scikit-image,
    NumPy and Pillow. The splits share shapes' statistics and no photograph.

    Raises:
        BadInputError: if `split` is neither "train" nor "val", or scikit-image is missing.
    """

    classes = 4

    def __init__(self, split: str, *, size: int = 128):
        if split not in _PHOTOGRAPHS:
            raise BadInputError(f"split: wanted 'train' or 'val', got {split!r}")
        self.split = split
        self.size = size
        for name in _PHOTOGRAPHS[split]:
            _photograph(name)

    def __len__(self) -> int:
        return _LENGTHS[self.split]

    def __getitem__(self, index: int) -> Picture:
        coverage = self._coverage(index)
        textures = _textures(
            _PHOTOGRAPHS[self.split], len(coverage), self.size, self._random(index, 1)
        )
        image = np.einsum("khw,khwc->hwc", coverage, textures)
        seeds = masks.from_mask(_labels(coverage), self._random(index, 2))
        return Picture(self.name(index), np.clip(image, 0, 1), seeds)

    def name(self, index: int) -> str:
        return f"embedded-{self.split}-{index:03d}"

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """The label of the region that covers the pixel, 255 where none does wholly."""
        return _labels(self._coverage(index))

    def alpha(self, index: int) -> Float32[np.ndarray, "h w"]:
        """What share of each pixel the regions 1 to 3 cover together, in [0, 1]."""
        return 1 - self._coverage(index)[0]

    def _random(self, index: int, purpose: int) -> np.random.Generator:
        if not 0 <= index < len(self):
            raise IndexError(f"index: wanted 0 to {len(self) - 1}, got {index}")
        return np.random.default_rng((_SALT, self.split == "val", index, purpose))

    def _coverage(self, index: int) -> Float32[np.ndarray, "k h w"]:
        """How much of each pixel each region covers once all are laid down: sums to 1 over k."""
        random = self._random(index, 0)
        blobs = int(random.integers(1, self.classes))
        soft = random.uniform(*_SOFT)
        # Blobs start in sectors of their own, so that later ones overlap but do not bury others.
        angles = random.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(blobs) / blobs
        left = np.ones((self.size, self.size), np.float32)
        coverage = []
        for angle in angles[::-1]:  # the last one lies on top
            alpha = _blob(self.size, angle, blobs, soft, random)
            coverage.append(alpha * left)
            left = left * (1 - alpha)
        return np.stack([left, *coverage[::-1]])


def _blob(
    size: int, angle: float, blobs: int, soft: float, random: np.random.Generator
) -> Float32[np.ndarray, "s s"]:
    """Coverage of an ellipse that smooth noise has dented, its border `soft` pixels wide."""
    away = random.uniform(0.0, 0.2) if blobs == 1 else random.uniform(0.2, 0.3)
    row, column = 0.5 + away * np.sin(angle), 0.5 + away * np.cos(angle)
    axes = random.uniform(0.8, 1.25, size=2) * random.uniform(0.35, 0.5) / np.sqrt(blobs)
    turn = random.uniform(0, np.pi)
    down, across = np.meshgrid(*2 * [(np.arange(size) + 0.5) / size], indexing="ij")
    down, across = down - row, across - column
    first = (np.cos(turn) * down + np.sin(turn) * across) / axes[0]
    second = (np.cos(turn) * across - np.sin(turn) * down) / axes[1]
    height = 1 - np.hypot(first, second)
    for cells, strength in ((4, 0.2), (9, 0.08)):
        noise = Image.fromarray(random.standard_normal((cells, cells)).astype(np.float32))
        height += strength * np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC))
    # Height over slope is about the distance to the border in pixels.
    slope = np.maximum(np.hypot(*np.gradient(height)), 0.2 / size)
    return np.clip(0.5 + height / (slope * soft), 0, 1).astype(np.float32)


def _labels(coverage: Float32[np.ndarray, "k h w"]) -> UInt8[np.ndarray, "h w"]:
    label = coverage.argmax(0).astype(np.uint8)
    return np.where(coverage.max(0) < 1, np.uint8(VOID), label)


def _textures(
    names: tuple[str, ...], count: int, size: int, random: np.random.Generator
) -> Float32[np.ndarray, "k s s 3"]:
    """Square crops of the photographs, each far from the others in mean colour.

    Of some random crops the first one that lies far enough from all before it is taken, or the
    farthest where none does.
    """
    crops, means = [], np.zeros((0, 3))
    for _ in range(count):
        best = None
        for _ in range(_CANDIDATES):
            photograph = _photograph(names[random.integers(len(names))])
            longest = min(_LARGEST * size, *photograph.size)
            side = random.uniform(min(size, longest), longest)
            left, top = (random.uniform(0, length - side) for length in photograph.size)
            box = (left, top, left + side, top + side)
            colour = photograph.resize((4, 4), Image.Resampling.BOX, box)
            mean = np.asarray(colour, np.float64).mean((0, 1)) / 255
            distance = np.linalg.norm(means - mean, axis=1).min(initial=np.inf)
            if best is None or distance > best[0]:
                best = distance, photograph, box, mean
            if distance >= _CONTRAST:
                break
        assert best is not None
        _, photograph, box, mean = best
        means = np.vstack([means, mean])
        crop = photograph.resize((size, size), Image.Resampling.BILINEAR, box)
        crop = np.asarray(crop, np.float32) / 255
        turns, mirror = (int(random.integers(n)) for n in (4, 2))
        crops.append(np.rot90(crop, turns)[:, :: -1 if mirror else 1])
    return np.stack(crops)


@functools.cache
def _photograph(name: str) -> Image.Image:
    try:
        from skimage import data
    except ModuleNotFoundError:
        raise BadInputError(
            "embedded pictures: wanted scikit-image, got no such package; "
            "pip install energynets[experiments]"
        ) from None
    return Image.fromarray(getattr(data, name)()).convert("RGB")

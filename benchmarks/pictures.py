"""Photographs, strokes and trimaps that the solvers are compared on."""

from pathlib import Path

import numpy as np
import scipy.ndimage
import skimage.data
import skimage.filters
import skimage.io
import skimage.transform

# These come with scikit-image itself.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def photographs(size: int, root: str | Path | None = None, count: int | None = None):
    """name -> size×size×3 in [0, 1], float64: the middle square of each photograph.

    Args:
        size: of a side; larger ones are enlarged, and get the detail that they lack from noise.
        root: a folder of JPEG or PNG pictures in place of those of scikit-image.
        count: of pictures; all if None.
    """
    if root is None:
        found = {name: getattr(skimage.data, name) for name in PHOTOGRAPHS}
    else:
        paths = [path for path in sorted(Path(root).iterdir()) if path.suffix in (".jpg", ".png")]
        found = {path.stem: lambda path=path: skimage.io.imread(path) for path in paths}
        if not found:
            raise ValueError(f"root must hold .jpg or .png files, got none in {root}")
    return {name: _square(read(), size) for name, read in list(found.items())[:count]}


def _square(picture: np.ndarray, size: int) -> np.ndarray:
    picture = picture[..., :3] if picture.ndim == 3 else np.stack([picture] * 3, -1)
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    square = picture[top : top + side, left : left + side]
    resized = skimage.transform.resize(square, (size, size), anti_aliasing=side > size)
    if size > side:
        resized = resized + 0.02 * np.random.default_rng(0).standard_normal(resized.shape)
    return np.clip(resized, 0, 1)


def strokes(size: int) -> np.ndarray:
    """size×size×2: one stroke for each of two labels."""
    planes = np.zeros((size, size, 2))
    thick = max(size // 100, 1)
    planes[size // 4 : size // 4 + thick, size // 4 : size // 2, 0] = 1
    planes[3 * size // 4 : 3 * size // 4 + thick, size // 2 : 3 * size // 4, 1] = 1
    return planes


def band(image: np.ndarray) -> np.ndarray:
    """H×W×2: a trimap whose unknown band runs along what is bright in the picture.

    Bright is above Otsu's threshold after blurring; the band is a thirtieth of the side on both
    sides of that border.
    """
    side = image.shape[0]
    smooth = scipy.ndimage.gaussian_filter(image.mean(-1), side / 50)
    bright = smooth > skimage.filters.threshold_otsu(smooth)
    reach = max(side / 30, 1)
    inside = scipy.ndimage.distance_transform_edt(bright) > reach
    outside = scipy.ndimage.distance_transform_edt(~bright) > reach
    return np.stack([outside, inside], -1).astype(float)

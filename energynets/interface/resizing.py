"""Pictures and planes at another size."""

import numpy as np
from jaxtyping import Float
from PIL import Image


def shrunk(planes: Float[np.ndarray, "h w c"], size: tuple[int, int]) -> np.ndarray:
    """Means over boxes; as they are where the size is the same."""
    return _resized(planes, size, Image.Resampling.BOX)


def enlarged(planes: Float[np.ndarray, "h w c"], size: tuple[int, int]) -> np.ndarray:
    """Bilinear; as they are where the size is the same."""
    return _resized(planes, size, Image.Resampling.BILINEAR)


def _resized(planes: np.ndarray, size: tuple[int, int], way: Image.Resampling) -> np.ndarray:
    if planes.shape[:2] == size:
        return planes
    height, width = size
    result = np.empty((height, width, planes.shape[2]), np.float32)
    for c in range(planes.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(planes[..., c], np.float32))
        result[..., c] = np.asarray(plane.resize((width, height), way))
    return result

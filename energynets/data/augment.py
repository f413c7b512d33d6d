"""Flips, crops and quarter turns of pictures and their label maps alike."""

import numpy as np
from jaxtyping import Float32, UInt8


def crop(
    image: Float32[np.ndarray, "h w 3"],
    *maps: UInt8[np.ndarray, "h w"],
    random: np.random.Generator,
    least: float,
) -> tuple[Float32[np.ndarray, "s s 3"], tuple[UInt8[np.ndarray, "s s"], ...]]:
    """A random square whose side lies between `least` and 1 times the shorter side."""
    height, width = image.shape[:2]
    side = max(1, round(random.uniform(least, 1) * min(height, width)))
    top = int(random.integers(0, height - side + 1))
    left = int(random.integers(0, width - side + 1))
    window = np.s_[top : top + side, left : left + side]
    return image[window], tuple(m[window] for m in maps)


def flip_and_turn(
    image: Float32[np.ndarray, "h w 3"],
    *maps: UInt8[np.ndarray, "h w"],
    random: np.random.Generator,
    turns: bool,
) -> tuple[Float32[np.ndarray, "a b 3"], tuple[UInt8[np.ndarray, "a b"], ...]]:
    """Left and right exchanged half the time; then, if `turns`, by 0, 90, 180 or 270 degrees."""
    if random.random() < 0.5:
        image, maps = image[:, ::-1], tuple(m[:, ::-1] for m in maps)
    if turns:
        quarters = int(random.integers(4))
        image, maps = np.rot90(image, quarters), tuple(np.rot90(m, quarters) for m in maps)
    return image, maps

"""What the tests of energies of segments share: small pictures and soft segments."""

import numpy as np


def picture(shape: tuple[int, int] = (5, 6), channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, channels)).astype(np.float32)


def soft(shape: tuple[int, int] = (5, 6), labels: int = 3) -> np.ndarray:
    draws = np.random.default_rng(1).dirichlet(np.ones(labels), size=shape)
    return draws.astype(np.float32)


def certain(shape: tuple[int, int] = (5, 6), labels: int = 3) -> np.ndarray:
    chosen = np.random.default_rng(2).integers(0, labels, shape)
    return np.eye(labels, dtype=np.float32)[chosen]


def gaussian(image: np.ndarray, sigma_position: float, sigma_colour: float) -> np.ndarray:
    """The whole matrix W in float64, pair by pair."""
    pixels = list(np.ndindex(*image.shape[:2]))
    matrix = np.empty((len(pixels), len(pixels)))
    for i, p in enumerate(pixels):
        for j, q in enumerate(pixels):
            position = np.square(np.subtract(p, q)).sum() / sigma_position**2
            colour = np.square(image[p].astype(float) - image[q]).sum() / sigma_colour**2
            matrix[i, j] = np.exp(-(position + colour) / 2)
    return matrix


SPECIAL = [
    np.zeros((5, 6, 3), np.float32),
    np.ones((5, 6, 3), np.float32),
    np.full((5, 6, 3), 0.5, np.float32),
    picture((1, 6)),
    picture((6, 1)),
]

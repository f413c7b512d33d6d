import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import structure_tensor
from tests.energies.segments import SPECIAL, picture, soft


def stated(P: np.ndarray, sigma: float, radius: int, smooth: float) -> float:
    """Σ of the smaller eigenvalue, by NumPy's eigenvalues, in float64."""
    height, width, labels = P.shape

    def clip(r: int, c: int) -> tuple[np.ndarray, np.ndarray]:
        return np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)

    outer = np.zeros((height, width, labels, 2, 2))
    for r, c in np.ndindex(height, width):
        down = (P[clip(r + 1, c)].astype(float) - P[clip(r - 1, c)]) / 2
        right = (P[clip(r, c + 1)].astype(float) - P[clip(r, c - 1)]) / 2
        gradient = np.stack([down, right], -1)
        outer[r, c] = gradient[..., :, None] * gradient[..., None, :]
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * np.square(offsets / sigma))
    taps /= taps.sum()
    total = 0.0
    for r, c in np.ndindex(height, width):
        tensor = sum(
            taps[i + radius] * taps[j + radius] * outer[clip(r + i, c + j)]
            for i in offsets
            for j in offsets
        )
        for label in range(labels):
            low, high = np.linalg.eigvalsh(tensor[label])
            root = np.sqrt((high - low) ** 2 + smooth**2) - smooth
            total += 0.5 * (low + high - root)
    return total


def test_it_is_the_sum_of_the_smaller_eigenvalues():
    settings = {"sigma": 1.5, "radius": 2, "smooth": 1e-3}
    value = structure_tensor.energy(picture(), soft(), **settings)
    assert np.isclose(value, stated(soft(), **settings), rtol=1e-4)


def stripes(angle: float, size: int = 24) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    wave = 0.5 + 0.5 * np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * 0.8)
    return wave[..., None].astype(np.float32)


def test_straight_patterns_cost_far_less_than_dots():
    image = picture((24, 24))
    dots = 2 * stripes(0.0) * stripes(np.pi / 2)
    cost = structure_tensor.energy(image, dots)
    for angle in (0.0, np.pi / 2):
        assert structure_tensor.energy(image, stripes(angle)) < 0.01 * cost
    # At a slant, repeated borders bend the lines there.
    assert structure_tensor.energy(image, stripes(0.7)) < 0.1 * cost


def test_turning_changes_nothing():
    value = structure_tensor.energy(picture(), soft())
    turned = structure_tensor.energy(picture((6, 5)), np.rot90(soft()).copy())
    assert np.isclose(turned, value, rtol=1e-5)


def test_its_derivatives_are_right_to_second_order():
    with jax.enable_x64(True):
        wide = soft((4, 5), 2).astype(float)
        image = picture((4, 5))
        check_grads(lambda p: structure_tensor.energy(image, p, radius=1), (wide,), order=2)


@pytest.mark.parametrize("image", SPECIAL, ids=lambda image: str(image.shape))
def test_it_is_finite_on_special_pictures_and_constant_predictions(image):
    for P in (soft(image.shape[:2]), np.ones((*image.shape[:2], 3), np.float32)):
        value, slope = jax.value_and_grad(structure_tensor.energy, argnums=1)(image, P)
        assert np.isfinite(value) and value > -1e-5 and np.isfinite(slope).all()
    assert abs(value) < 1e-5


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        structure_tensor.energy(picture(), soft((4, 6)))

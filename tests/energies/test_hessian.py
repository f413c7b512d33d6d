import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import hessian
from tests.energies.segments import SPECIAL, picture, soft
from tests.energies.test_structure_tensor import stripes


def eigenvalues(P: np.ndarray) -> np.ndarray:
    """Of the Hessian at every pixel, by NumPy in float64, without blur; h×w×k×2."""
    padded = np.pad(P.astype(float), ((1, 1), (1, 1), (0, 0)), "edge")
    result = np.zeros((*P.shape, 2))
    for r, c in np.ndindex(*P.shape[:2]):
        block = padded[r : r + 3, c : c + 3]
        rows = block[0, 1] - 2 * block[1, 1] + block[2, 1]
        columns = block[1, 0] - 2 * block[1, 1] + block[1, 2]
        mixed = (block[2, 2] - block[2, 0] - block[0, 2] + block[0, 0]) / 4
        for label in range(P.shape[2]):
            matrix = [[rows[label], mixed[label]], [mixed[label], columns[label]]]
            result[r, c, label] = np.linalg.eigvalsh(matrix)
    return result


def test_it_is_the_sum_of_the_smaller_magnitudes_of_curvature():
    expected = np.abs(eigenvalues(soft())).min(-1).sum()
    value = hessian.energy(picture(), soft(), radius=0, smooth=1e-6)
    assert np.isclose(value, expected, rtol=1e-3)


def test_the_norm_is_the_sum_of_both_magnitudes():
    expected = np.abs(eigenvalues(soft())).sum()
    assert np.isclose(hessian.norm(picture(), soft(), smooth=1e-6), expected, rtol=1e-4)


def test_straight_tubes_cost_far_less_than_dots():
    image = picture((24, 24))
    dots = 2 * stripes(0.0) * stripes(np.pi / 2)
    for angle in (0.0, np.pi / 2):
        assert hessian.energy(image, stripes(angle)) < 1e-3 * hessian.energy(image, dots)


def test_slopes_are_free():
    ramp = np.tile(np.linspace(0, 1, 7, dtype=np.float32)[:, None, None], (1, 8, 1))
    inner = jax.grad(hessian.norm, argnums=1)(picture((7, 8)), ramp)[2:-2]
    assert np.abs(inner).max() < 1e-3


@pytest.mark.parametrize("energy", [hessian.energy, hessian.norm])
def test_turning_and_adding_a_constant_change_nothing(energy):
    value = energy(picture(), soft())
    turned = energy(picture((6, 5)), np.rot90(soft()).copy() + 0.25)
    assert np.isclose(turned, value, rtol=1e-4)


@pytest.mark.parametrize("energy", [hessian.energy, hessian.norm])
def test_its_derivatives_are_right(energy):
    with jax.enable_x64(True):
        wide = soft((4, 5), 2).astype(float)
        # Smooth enough for finite differences.
        check_grads(lambda p: energy(picture((4, 5)), p, radius=1, smooth=0.1), (wide,), order=1)


@pytest.mark.parametrize("energy", [hessian.energy, hessian.norm])
@pytest.mark.parametrize("image", SPECIAL, ids=lambda image: str(image.shape))
def test_it_is_finite_on_special_pictures_and_constant_predictions(energy, image):
    for P in (soft(image.shape[:2]), np.ones((*image.shape[:2], 3), np.float32)):
        value, slope = jax.value_and_grad(energy, argnums=1)(image, P)
        assert np.isfinite(value) and value > -1e-5 and np.isfinite(slope).all()
    assert abs(value) < 1e-5


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        hessian.energy(picture(), soft((4, 6)))

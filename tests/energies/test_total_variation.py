import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import total_variation
from tests.energies.segments import SPECIAL, picture, soft

X = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])  # Eq. 11
Y = X.T


def responses(P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both operators at every pixel, and which pixel each of the nine places is."""
    height, width, labels = P.shape
    values = np.zeros((2, height, width, labels))
    places = np.zeros((height, width, 3, 3, 2), int)
    for r, c in np.ndindex(height, width):
        for i, j in np.ndindex(3, 3):
            place = np.clip(r + i - 1, 0, height - 1), np.clip(c + j - 1, 0, width - 1)
            places[r, c, i, j] = place
            values[0, r, c] += X[i, j] * P[place].astype(float)
            values[1, r, c] += Y[i, j] * P[place].astype(float)
    return values[0], values[1], places


def test_it_is_the_sum_of_magnitudes_of_sobels_operators():
    P = soft()
    down, right, _ = responses(P)
    expected = np.abs(down).sum() + np.abs(right).sum()
    assert np.isclose(total_variation.energy(picture(), P), expected, rtol=1e-5)


def test_its_gradient_is_equation_14():
    P = soft()
    down, right, places = responses(P)
    expected = np.zeros(P.shape)
    for r, c in np.ndindex(5, 6):
        for i, j in np.ndindex(3, 3):
            here = tuple(places[r, c, i, j])
            expected[here] += np.sign(down[r, c]) * X[i, j] + np.sign(right[r, c]) * Y[i, j]
    gradient = jax.grad(total_variation.energy, argnums=1)(picture(), P)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_plain_differences_are_summed_over_neighbours_once():
    P = soft().astype(float)
    expected = np.abs(np.diff(P, axis=0)).sum() + np.abs(np.diff(P, axis=1)).sum()
    assert np.isclose(total_variation.plain(picture(), soft()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("energy", "gain"), [(total_variation.energy, 8), (total_variation.plain, 1)]
)
def test_a_straight_border_costs_its_gain_for_each_pixel_and_label(energy, gain):
    P = np.zeros((5, 6, 2), np.float32)
    P[:, :3, 0] = P[:, 3:, 1] = 1
    assert np.isclose(energy(picture(), P), gain * 5 * 2)


@pytest.mark.parametrize("energy", [total_variation.energy, total_variation.plain])
def test_turning_relabelling_and_adding_a_constant_change_nothing(energy):
    P = soft()
    value = energy(picture(), P)
    turned = energy(picture((6, 5)), np.rot90(P).copy())
    assert np.isclose(turned, value, rtol=1e-5)
    assert np.isclose(energy(picture(), P[..., [2, 0, 1]] + 0.5), value, rtol=1e-5)


@pytest.mark.parametrize("energy", [total_variation.energy, total_variation.plain])
def test_its_derivatives_are_right(energy):
    with jax.enable_x64(True):
        check_grads(lambda p: energy(picture(), p), (soft().astype(float),), order=2)


@pytest.mark.parametrize("energy", [total_variation.energy, total_variation.plain])
@pytest.mark.parametrize("image", SPECIAL, ids=lambda image: str(image.shape))
def test_it_is_finite_on_special_pictures_and_predictions(energy, image):
    for P in (soft(image.shape[:2]), np.ones((*image.shape[:2], 3), np.float32)):
        value, slope = jax.value_and_grad(energy, argnums=1)(image, P)
        assert np.isfinite(value) and value >= 0 and np.isfinite(slope).all()
    assert value == 0  # the constant


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        total_variation.energy(picture(), soft((4, 6)))

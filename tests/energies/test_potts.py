import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import potts, random_walker
from energynets.seeded import Seeded
from tests.energies.segments import SPECIAL, certain, picture, soft


def weights(image: np.ndarray, beta: float, floor: float) -> np.ndarray:
    """The whole W in float64: ordered pairs of 4-neighbours."""
    pixels = list(np.ndindex(*image.shape[:2]))
    matrix = np.zeros((len(pixels), len(pixels)))
    for i, p in enumerate(pixels):
        for j, q in enumerate(pixels):
            if abs(p[0] - q[0]) + abs(p[1] - q[1]) == 1:
                squared = np.square(image[p].astype(float) - image[q]).sum()
                matrix[i, j] = np.exp(-beta * squared) + floor
    return matrix


def test_it_is_the_sum_over_ordered_pairs_of_neighbours():
    image, S = picture(), soft()
    W, flat = weights(image, 3.0, 0.1), soft().reshape(-1, 3).astype(float)
    expected = sum(flat[:, k] @ W @ (1 - flat[:, k]) for k in range(3))
    assert np.isclose(potts.energy(image, S, beta=3.0, floor=0.1), expected, rtol=1e-5)
    assert np.isclose(potts.per_pixel(image, S, beta=3.0, floor=0.1), expected / 30, rtol=1e-5)


def test_its_gradient_is_equation_11_and_the_degree():
    image, S = picture(), soft()
    W, flat = weights(image, 3.0, 0.0), soft().reshape(-1, 3).astype(float)
    expected = W.sum(1)[:, None] - 2 * W @ flat
    gradient = jax.grad(potts.energy, argnums=1)(image, S, beta=3.0)
    np.testing.assert_allclose(gradient.reshape(-1, 3), expected, atol=1e-5)
    with jax.enable_x64(True):
        wide = image.astype(float), S.astype(float)
        check_grads(lambda i, s: potts.energy(i, s, beta=3.0), wide, order=2)


def test_for_certain_segments_it_is_the_random_walker_energy():
    image, S = picture(), certain()
    other = random_walker.energy(Seeded(image, 0 * S), S, beta=3.0, floor=0.0)
    assert np.isclose(potts.energy(image, S, beta=3.0), other, rtol=1e-5)


def test_relabelling_and_mirroring_change_nothing():
    image, S = picture(), soft()
    value = potts.energy(image, S)
    assert np.isclose(potts.energy(image, S[..., [2, 0, 1]]), value, rtol=1e-5)
    assert np.isclose(potts.energy(image[:, ::-1], S[:, ::-1]), value, rtol=1e-5)


def test_one_label_everywhere_costs_nothing():
    S = np.zeros((5, 6, 3), np.float32)
    S[..., 1] = 1
    assert potts.energy(picture(), S) == 0


@pytest.mark.parametrize("image", SPECIAL, ids=lambda image: str(image.shape))
def test_it_is_finite_on_special_pictures(image):
    S = soft(image.shape[:2])
    value, slope = jax.value_and_grad(potts.energy, argnums=1)(image, S)
    assert np.isfinite(value) and value >= 0 and np.isfinite(slope).all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        potts.energy(picture(), soft((4, 6)))


def test_integers_are_refused():
    """Differences of bytes would wrap around."""
    with pytest.raises(ValueError, match="image must be floating point, got uint8"):
        potts.energy((255 * picture()).astype(np.uint8), soft())
    with pytest.raises(ValueError, match="probabilities must be floating point, got int"):
        potts.energy(picture(), certain().astype(int))

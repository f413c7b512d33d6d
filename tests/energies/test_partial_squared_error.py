import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import partial_squared_error
from tests.energies.segments import certain, soft


def half_known() -> np.ndarray:
    seeds = certain()
    seeds[::2] = 0
    return seeds


def test_it_is_the_squared_difference_summed_over_known_pixels():
    seeds, y = half_known(), soft()
    expected = sum(
        (float(y[p][k]) - seeds[p][k]) ** 2
        for p in np.ndindex(5, 6)
        for k in range(3)
        if seeds[p].any()
    )
    assert np.isclose(partial_squared_error.energy(seeds, y), expected, rtol=1e-6)


def test_its_gradient_is_right_and_zero_where_nothing_is_known():
    seeds, y = half_known(), soft()
    gradient = jax.grad(partial_squared_error.energy, argnums=1)(seeds, y)
    assert (gradient[::2] == 0).all()
    np.testing.assert_allclose(gradient[1::2], 2 * (y - seeds)[1::2], rtol=1e-6)
    with jax.enable_x64(True):
        wide = y.astype(float)
        check_grads(lambda y: partial_squared_error.energy(seeds.astype(float), y), (wide,), 2)


def test_without_seeds_it_is_zero():
    assert partial_squared_error.energy(0 * certain(), soft()) == 0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        partial_squared_error.energy(jnp.ones((2, 2, 2)), jnp.ones((2, 2, 3)))

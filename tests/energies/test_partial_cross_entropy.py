import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import partial_cross_entropy


def seeds_and_probabilities():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(3, 9.0), size=(4, 5))
    seeds = np.eye(4)[random.integers(0, 4, (4, 5))][..., :3]  # the fourth: no seed
    return seeds, probabilities


def test_it_is_minus_the_logarithm_of_the_right_label_summed_over_seeds():
    seeds, probabilities = seeds_and_probabilities()
    expected = 0.0
    for row, column in np.ndindex(4, 5):
        for label in range(3):
            if seeds[row, column, label]:
                expected -= np.log(probabilities[row, column, label])
    assert np.isclose(partial_cross_entropy.energy(seeds, probabilities), expected, rtol=1e-5)


def test_its_gradient_is_right_and_zero_where_nothing_is_known():
    seeds, probabilities = seeds_and_probabilities()
    with jax.enable_x64(True):
        check_grads(lambda y: partial_cross_entropy.energy(seeds, y), (probabilities,), order=2)
        gradient = jax.grad(partial_cross_entropy.energy, argnums=1)(seeds, probabilities)
    assert (gradient[~seeds.any(-1)] == 0).all()


def test_a_certain_mistake_is_finite():
    seeds = jnp.ones((1, 1, 1))
    value, slope = jax.value_and_grad(partial_cross_entropy.energy, argnums=1)(seeds, 0 * seeds)
    assert np.isfinite(value) and np.isfinite(slope).all() and value > 0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        partial_cross_entropy.energy(jnp.ones((2, 2, 2)), jnp.ones((2, 2, 3)))

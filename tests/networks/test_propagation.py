import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.networks.propagation import Propagation


def network_and_inputs(height=16, width=16, labels=3, rounds=4):
    network = Propagation(widths=(8, 8, 8), rounds=rounds)
    random = np.random.default_rng(0)
    image = jnp.asarray(random.random((2, height, width, 3)), jnp.float32)
    seeds = np.zeros((2, height, width, labels), np.float32)
    for label in range(min(labels, 2)):
        seeds[:, (label * 7) % height, (label * 5) % width, label] = 1
    variables = network.init(jax.random.key(0), image, jnp.asarray(seeds), train=False)
    return network, variables, image, jnp.asarray(seeds)


def test_probabilities_sum_to_one_and_a_label_without_seeds_has_none():
    network, variables, image, seeds = network_and_inputs()
    result = network.apply(variables, image, seeds, train=False)
    np.testing.assert_allclose(result.sum(-1), 1, rtol=1e-5)
    assert (result >= 0).all()
    assert (result[..., 2] == 0).all()


def test_exchanging_labels_exchanges_the_result():
    network, variables, image, seeds = network_and_inputs()
    order = jnp.array([2, 0, 1])
    there = network.apply(variables, image, seeds[..., order], train=False)
    back = network.apply(variables, image, seeds, train=False)[..., order]
    np.testing.assert_allclose(there, back, atol=1e-6)


def test_one_set_of_weights_takes_any_number_of_labels():
    network, variables, image, seeds = network_and_inputs(labels=2)
    more = jnp.concatenate([seeds, jnp.zeros_like(seeds)], -1)
    two = network.apply(variables, image, seeds, train=False)
    four = network.apply(variables, image, more, train=False)
    np.testing.assert_allclose(four[..., :2], two, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 3), (17, 13)])
def test_any_height_and_width_is_taken(height, width):
    network, variables, image, seeds = network_and_inputs(height, width)
    result = network.apply(variables, image, seeds, train=False)
    assert result.shape == (2, height, width, 3)
    assert np.isfinite(result).all()


def test_without_any_seed_all_labels_are_equally_probable():
    network, variables, image, seeds = network_and_inputs()
    result = network.apply(variables, image, jnp.zeros_like(seeds), train=False)
    np.testing.assert_allclose(result, 1 / 3, atol=1e-6)


def test_a_seed_reaches_the_far_corner():
    network, variables, image, seeds = network_and_inputs(16, 16, rounds=8)
    moved = seeds.at[:, 0, 3, 0].set(1.0)
    before = network.apply(variables, image, seeds, train=False)[:, -1, -1]
    after = network.apply(variables, image, moved, train=False)[:, -1, -1]
    assert (jnp.abs(after - before).max(-1) > 1e-6).all()


def test_one_picture_of_a_batch_does_not_touch_another():
    network, variables, image, seeds = network_and_inputs()
    both = network.apply(variables, image, seeds, train=False)
    alone = network.apply(variables, image[:1], seeds[:1], train=False)
    np.testing.assert_allclose(both[:1], alone, atol=1e-5)


def test_the_gradient_is_finite_on_flat_pictures_and_without_seeds():
    network, variables, image, seeds = network_and_inputs()

    def total(variables, image, seeds):
        return jnp.square(network.apply(variables, image, seeds, train=False)).sum()

    for flat in (jnp.zeros_like(image), jnp.ones_like(image)):
        for planes in (seeds, jnp.zeros_like(seeds)):
            gradient = jax.grad(total)(variables, flat, planes)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.networks import propagation
from energynets.networks.propagation import Prior, Propagation


def network_and_inputs(height=16, width=16, labels=3):
    network = Propagation(widths=(8, 8, 8))
    random = np.random.default_rng(0)
    image = jnp.asarray(random.random((2, height, width, 3)), jnp.float32)
    seeds = np.zeros((2, height, width, labels), np.float32)
    for label in range(min(labels, 2)):
        seeds[:, (label * 7) % height, (label * 5) % width, label] = 1
    init = jax.jit(partial(network.init, train=False))
    variables = init(jax.random.key(0), image, jnp.asarray(seeds))
    return jax.jit(partial(network.apply, train=False)), variables, image, jnp.asarray(seeds)


def test_probabilities_sum_to_one_and_a_label_without_seeds_has_none():
    answer, variables, image, seeds = network_and_inputs()
    result = answer(variables, image, seeds)
    np.testing.assert_allclose(result.sum(-1), 1, rtol=1e-5)
    assert (result >= 0).all()
    assert (result[..., 2] == 0).all()


def test_exchanging_labels_exchanges_the_result():
    answer, variables, image, seeds = network_and_inputs()
    order = jnp.array([2, 0, 1])
    there = answer(variables, image, seeds[..., order])
    back = answer(variables, image, seeds)[..., order]
    np.testing.assert_allclose(there, back, atol=1e-6)


def test_one_set_of_weights_takes_any_number_of_labels():
    answer, variables, image, seeds = network_and_inputs(labels=2)
    more = jnp.concatenate([seeds, jnp.zeros_like(seeds)], -1)
    two = answer(variables, image, seeds)
    four = answer(variables, image, more)
    np.testing.assert_allclose(four[..., :2], two, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 3), (17, 13)])
def test_any_height_and_width_is_taken(height, width):
    answer, variables, image, seeds = network_and_inputs(height, width)
    result = answer(variables, image, seeds)
    assert result.shape == (2, height, width, 3)
    assert np.isfinite(result).all()


def test_without_any_seed_all_labels_are_equally_probable():
    answer, variables, image, seeds = network_and_inputs()
    result = answer(variables, image, jnp.zeros_like(seeds))
    np.testing.assert_allclose(result, 1 / 3, atol=1e-6)


def test_a_seed_reaches_the_far_corner():
    answer, variables, image, seeds = network_and_inputs()
    moved = seeds.at[:, 0, 3, 0].set(1.0)
    before = answer(variables, image, seeds)[:, -1, -1]
    after = answer(variables, image, moved)[:, -1, -1]
    assert (jnp.abs(after - before).max(-1) > 1e-6).all()


def test_one_picture_of_a_batch_does_not_touch_another():
    answer, variables, image, seeds = network_and_inputs()
    both = answer(variables, image, seeds)
    alone = answer(variables, image[:1], seeds[:1])
    np.testing.assert_allclose(both[:1], alone, atol=1e-5)


def test_the_gradient_is_finite_on_flat_pictures_and_without_seeds():
    answer, variables, image, seeds = network_and_inputs(8, 8)

    @jax.jit
    @jax.grad
    def slope(variables, image, seeds):
        return jnp.square(answer(variables, image, seeds)).sum()

    for flat in (jnp.zeros_like(image), jnp.ones_like(image)):
        for planes in (seeds, jnp.zeros_like(seeds)):
            gradient = slope(variables, flat, planes)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def prior_and_inputs():
    random = np.random.default_rng(1)
    features = jnp.asarray(random.normal(size=(2, 4, 6, 5)), jnp.float32)
    planes = np.eye(3, dtype=np.float32)[random.integers(0, 3, (2, 16, 24))]
    planes = jnp.asarray(planes * (random.random((2, 16, 24, 1)) < 0.05))
    seeded = planes.any((1, 2), keepdims=True)
    variables = Prior().init(jax.random.key(0), features, planes, seeded)
    return variables, features, planes, seeded


def test_the_prior_is_the_mean_of_the_seeds_by_likeness_and_nearness():
    variables, features, planes, seeded = prior_and_inputs()
    answer = np.asarray(Prior().apply(variables, features, planes, seeded))
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    asked = features @ weights["asked"]["kernel"] + weights["asked"]["bias"]
    told = features @ weights["told"]["kernel"]
    for b, row, column in [(0, 0, 0), (1, 3, 5), (0, 2, 1)]:
        votes = np.zeros(3)
        for i, j, k in np.argwhere(planes[b]):
            apart = ((row - i // 4) ** 2 + (column - j // 4) ** 2) / 6**2
            likeness = asked[b, row, column] @ told[b, i // 4, j // 4] / 32**0.5
            votes[k] += np.exp(likeness - np.exp(weights["falloff"]) * apart)
        np.testing.assert_allclose(answer[b, row, column], votes / votes.sum(), rtol=1e-4)


def test_a_large_picture_is_matched_with_its_seeds_in_parts(monkeypatch):
    variables, *inputs = prior_and_inputs()
    whole = np.asarray(Prior().apply(variables, *inputs))
    monkeypatch.setattr(propagation, "_AT_ONCE", 2 * 4 * 6 * 6)
    np.testing.assert_allclose(np.asarray(Prior().apply(variables, *inputs)), whole, rtol=1e-5)


def test_labels_stop_where_the_colour_changes_before_anything_is_learnt():
    answer, variables, _, _ = network_and_inputs()
    image = jnp.zeros((1, 16, 16, 3)).at[:, :, 9:].set(0.5)
    seeds = jnp.zeros((1, 16, 16, 2)).at[0, 3, 1, 0].set(1).at[0, 12, 15, 1].set(1)
    labels = answer(variables, image, seeds).argmax(-1)[0]
    np.testing.assert_array_equal(labels, np.arange(16)[None] >= np.full((16, 1), 9))

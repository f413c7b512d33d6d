from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.networks.labels import Classes, PerLabel
from energynets.networks.pyramid import Pyramid


def inputs(labels=3, size=8, batch=2, seed=0):
    random = np.random.default_rng(seed)
    image = random.random((batch, size, size, 3), np.float32)
    chosen = random.integers(0, 3 * labels, (batch, size, size))  # two thirds are unseeded
    return image, np.eye(3 * labels, labels, dtype=np.float32)[chosen]


def made(network, image, seeds):
    return jax.jit(partial(network.init, train=False))(jax.random.key(0), image, seeds)


def apply(network, variables, *inputs, **how):
    return jax.jit(partial(network.apply, **how))(variables, *inputs)


def per_label(dtype=jnp.float32):
    return PerLabel(Pyramid(1, (8, 8), dtype))


def classes(count, dtype=jnp.float32):
    return Classes(Pyramid(count, (8, 8), dtype))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("head", ["per_label", "classes"])
def test_probabilities_are_float32_and_add_up_to_one(head, dtype):
    image, seeds = inputs()
    network = per_label(dtype) if head == "per_label" else classes(3, dtype)
    answer = apply(network, made(network, image, seeds), image, seeds, train=False)
    assert answer.shape == seeds.shape and answer.dtype == jnp.float32
    assert (np.asarray(answer) >= 0).all()
    np.testing.assert_allclose(answer.sum(-1), 1, atol=1e-6)


def test_labels_may_be_exchanged():
    image, seeds = inputs(labels=4)
    network = per_label()
    variables = made(network, image, seeds)
    answer = apply(network, variables, image, seeds, train=False)
    for order in ([1, 0, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        exchanged = apply(network, variables, image, seeds[..., order], train=False)
        np.testing.assert_allclose(exchanged, answer[..., np.array(order)], atol=1e-6)


def test_one_set_of_weights_serves_any_number_of_labels():
    network = per_label()
    variables = made(network, *inputs(labels=2))
    for labels in (1, 2, 7):
        image, seeds = inputs(labels=labels)
        answer = apply(network, variables, image, seeds, train=False)
        assert answer.shape[-1] == labels
        np.testing.assert_allclose(answer.sum(-1), 1, atol=1e-6)


def test_a_label_without_a_seed_has_no_probability_and_changes_nothing():
    image, seeds = inputs(labels=2)
    network = per_label()
    variables = made(network, image, seeds)
    answer = apply(network, variables, image, seeds, train=False)
    wider = np.concatenate([seeds, np.zeros_like(seeds[..., :2])], -1)
    more = apply(network, variables, image, wider, train=False)
    assert (np.asarray(more[..., 2:]) == 0).all()
    np.testing.assert_allclose(more[..., :2], answer, atol=1e-6)


def test_seeds_of_one_image_say_nothing_of_another():
    image, seeds = inputs(labels=2)
    seeds[1, ..., 1] = 0
    network = per_label()
    answer = apply(network, made(network, image, seeds), image, seeds, train=False)
    assert (np.asarray(answer[1, ..., 1]) == 0).all() and (np.asarray(answer[0, ..., 1]) > 0).all()


def test_without_any_seed_all_labels_are_equally_probable():
    image, seeds = inputs(labels=4)
    network = per_label()
    nothing = np.zeros_like(seeds)
    answer = apply(network, made(network, image, seeds), image, nothing, train=False)
    np.testing.assert_allclose(answer, 0.25, atol=1e-7)


def test_the_slope_is_finite_where_a_label_has_no_seed():
    image, seeds = inputs(labels=3)
    seeds[..., 2] = 0
    network = per_label()
    variables = made(network, image, seeds)

    def entropy(variables):
        answer = apply(network, variables, image, seeds, train=True)
        return (answer**2).sum()

    slopes = jax.tree.leaves(jax.jit(jax.grad(entropy))(variables))
    assert all(np.isfinite(slope).all() for slope in slopes)
    assert any((slope != 0).any() for slope in slopes)


def test_classes_see_image_and_seeds_beside_each_other():
    image, seeds = inputs(labels=3)
    network = classes(3)
    variables = made(network, image, seeds)
    answer = apply(network, variables, image, seeds, train=False)
    for other in (image.copy(), image * 0.5):
        np.testing.assert_array_equal(
            (apply(network, variables, other, seeds, train=False) == answer).all(),
            (other == image).all(),
        )
    moved = apply(network, variables, image, seeds[..., [1, 0, 2]], train=False)
    assert abs(moved - answer).max() > 1e-4

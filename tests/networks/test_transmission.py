import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.networks import build
from energynets.networks.transmission import Refinement, Transmission

SETTINGS = {**build.DEFAULTS, "head": "transmission", "trunk": "pyramid", "widths": (8, 8)}


def test_it_gives_one_plane_between_0_and_1_for_each_picture():
    network = build.of(SETTINGS, 1)
    assert isinstance(network, Transmission) and network.least_size == 1
    image = jax.random.uniform(jax.random.key(0), (2, 9, 11, 3))
    variables = network.init(jax.random.key(1), image, train=False)
    t = network.apply(variables, image, train=False)
    assert t.shape == (2, 9, 11) and t.min() > 0 and t.max() < 1 and np.ptp(t) > 0
    score = network.trunk.bind({"params": variables["params"]["trunk"]})(image, False)
    np.testing.assert_allclose(t, 1 / (1 + jnp.exp(-score[..., 0])), rtol=1e-5)


def test_a_trunk_that_needs_seeds_is_refused():
    with pytest.raises(ValueError, match=r"config\.network\.trunk: wanted"):
        build.of({**SETTINGS, "trunk": "propagation"}, 1)
    with pytest.raises(ValueError, match=r"config\.network\.trunk: wanted one of pyramid"):
        build.of({**SETTINGS, "head": "refinement", "trunk": "dilated"}, 1)


def test_a_refinement_is_locally_affine_in_colour_around_the_means_of_the_coarse_transmission():
    network = build.of({**SETTINGS, "head": "refinement"}, 1)
    assert network == Refinement((8, 8)) and network.least_size == 1
    image = jax.random.uniform(jax.random.key(0), (2, 9, 11, 3))
    coarse = jnp.linspace(-0.2, 1.2, 99).reshape(9, 11) * jnp.ones((2, 1, 1))
    variables = network.init(jax.random.key(1), image, coarse, train=False)
    t = network.apply(variables, image, coarse, train=False)
    assert t.shape == (2, 9, 11) and np.isfinite(t).all()
    # A trunk that says nothing leaves the blocks' means, drawn linearly between their middles.
    still = jax.tree.map(jnp.zeros_like, variables)
    blocks = jnp.pad(coarse, ((0, 0), (0, 1), (0, 1)), "edge").reshape(2, 5, 2, 6, 2).mean((2, 4))
    means = jax.image.resize(blocks, (2, 10, 12), "linear")[:, :9, :11]
    plain = network.apply(still, image, coarse, train=False)
    np.testing.assert_allclose(plain, means, atol=1e-6)
    # With the same slopes everywhere t is a·(I - ½) + b.
    bias = jnp.array([0.5, -0.25, 0.125, 0.1])
    still = jax.tree.map(jnp.zeros_like, variables)
    still["params"]["Conv_0"]["bias"] = bias
    affine = network.apply(still, image, coarse, train=False)
    expected = means + (image - 0.5) @ bias[:3] + bias[3]
    np.testing.assert_allclose(affine, expected, atol=1e-6)


def test_a_refinement_sees_the_coarse_transmission():
    network = Refinement((8, 8))
    image = jax.random.uniform(jax.random.key(0), (1, 9, 11, 3))
    variables = network.init(jax.random.key(1), image, jnp.ones((1, 9, 11)), train=False)
    slope = jax.grad(lambda c: network.apply(variables, image, c, train=False).var())
    assert np.ptp(slope(jax.random.uniform(jax.random.key(2), (1, 9, 11)))) > 0


def test_a_transmission_from_the_picture_alone_does_not_look_at_a_coarse_one():
    network = build.of(SETTINGS, 1)
    image = jax.random.uniform(jax.random.key(0), (1, 9, 11, 3))
    variables = network.init(jax.random.key(1), image, train=False)
    alone = network.apply(variables, image, train=False)
    beside = network.apply(variables, image, jnp.ones((1, 9, 11)), train=False)
    np.testing.assert_array_equal(alone, beside)

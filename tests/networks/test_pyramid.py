from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.networks.pyramid import Pyramid


def made(network, shape=(1, 8, 8, 3)):
    return jax.jit(partial(network.init, train=False))(jax.random.key(0), jnp.zeros(shape))


def apply(network, variables, *inputs, **how):
    return jax.jit(partial(network.apply, **how))(variables, *inputs)


def noise(*shape):
    return jax.random.uniform(jax.random.key(1), shape)


SMALL = Pyramid(2, (8, 16, 8))


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (7, 4), (16, 1)], ids=str)
def test_any_height_and_width_will_do(size):
    scores = apply(SMALL, made(SMALL), noise(2, *size, 3), train=False)
    assert scores.shape == (2, *size, 2) and scores.dtype == jnp.float32
    assert np.isfinite(scores).all()


def test_one_level_and_any_channel_count_will_do():
    network = Pyramid(3, (8,))
    image = noise(1, 5, 6, 7)
    assert apply(network, made(network, image.shape), image, train=False).shape == (1, 5, 6, 3)


def test_the_margin_continues_the_border():
    # 7×6 is filled up to 8×8 by repeating the last row and columns; so the caller may do it too.
    image = noise(1, 7, 6, 3)
    variables = made(SMALL)
    filled = jnp.pad(image, ((0, 0), (0, 1), (0, 2), (0, 0)), "edge")
    np.testing.assert_allclose(
        apply(SMALL, variables, image, train=False),
        apply(SMALL, variables, filled, train=False)[:, :7, :6],
        atol=1e-5,
    )


def test_seeds_reach_every_pixel_of_an_image_of_128():
    network = Pyramid(1, (8, 8, 8, 8, 8))
    variables = made(network, (1, 16, 16, 1))
    image = noise(1, 128, 128, 1)

    def corner(image):
        return apply(network, variables, image, train=False)[0, 0, 0, 0]

    slope = jax.jit(jax.grad(corner))(image)[0, ..., 0]
    assert (abs(slope[-4:, -4:]) > 0).any()
    # Group norm alone would reach everywhere; a change at the far corner must be more than that.
    changed = image.at[0, 127, 127].add(0.5)
    assert apply(network, variables, changed, train=False)[0, 0, 0, 0] != corner(image)


def test_each_image_is_on_its_own_in_training_too():
    variables = made(SMALL)
    image = noise(3, 8, 8, 3)
    together = apply(SMALL, variables, image, train=True)
    np.testing.assert_allclose(
        together[:1], apply(SMALL, variables, image[:1], train=True), atol=1e-5
    )
    np.testing.assert_allclose(together, apply(SMALL, variables, image, train=False), atol=0)
    assert variables.keys() == {"params"}


def test_each_level_has_its_width():
    leaves = jax.tree.leaves(jax.eval_shape(lambda: made(Pyramid(1, (8, 16, 24)))))
    widths = [leaf.shape for leaf in leaves if leaf.ndim == 4]
    # The first convolution, two for the block of each level on its way down, and on its way up.
    assert [s[-1] for s in widths if s[:2] == (3, 3)].count(8) == 1 + 2 + 2
    assert [s[-1] for s in widths if s[:2] == (3, 3)].count(16) == 2 + 2
    assert [s[-1] for s in widths if s[:2] == (3, 3)].count(24) == 2
    assert sorted(s for s in widths if s[:2] == (2, 2)) == [(2, 2, 8, 16), (2, 2, 16, 24)]


def test_parameters_stay_float32_where_the_computation_is_not():
    network = Pyramid(2, (8, 8), jnp.bfloat16)
    variables = made(network)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    image = noise(1, 8, 8, 3)
    half = np.float32(apply(network, variables, image, train=False))
    full = Pyramid(2, (8, 8)).apply(variables, image, train=False)
    # bfloat16 keeps 8 bits.
    np.testing.assert_allclose(half, full, atol=0.05 * abs(full).max())
    assert (half != full).any()


@pytest.mark.parametrize("width", [8, 16, 24])
def test_no_convolution_has_a_bias_that_the_norm_takes_away(width):
    network = Pyramid(1, (width,))
    image = noise(2, 8, 8, 3)
    variables = made(network, image.shape)

    def loss(params):
        return (network.apply({"params": params}, image, train=True) ** 2).mean()

    slopes = jax.jit(jax.grad(loss))(variables["params"])["PyramidFeatures_0"]
    inside = [slopes[f"Conv_{n}"] for n in (1, 2)]  # of the residual block
    # Rounding alone gives a bias without effect a slope of some 1e-7 of the kernel's.
    for slope in inside:
        assert abs(slope["bias"]).max() > 1e-3 * abs(slope["kernel"]).max()

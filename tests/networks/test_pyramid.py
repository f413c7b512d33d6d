import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.networks.pyramid import Pyramid


def made(network, shape=(1, 8, 8, 3)):
    return network.init(jax.random.key(0), jnp.zeros(shape), train=False)


def noise(*shape):
    return jax.random.uniform(jax.random.key(1), shape)


SMALL = Pyramid(2, (8, 16, 8))


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 9), (2, 3), (4, 4), (5, 8), (7, 13), (16, 1)], ids=str
)
def test_any_height_and_width_will_do(size):
    scores = SMALL.apply(made(SMALL), noise(2, *size, 3), train=False)
    assert scores.shape == (2, *size, 2) and scores.dtype == jnp.float32
    assert np.isfinite(scores).all()


def test_one_level_and_any_channel_count_will_do():
    network = Pyramid(3, (8,))
    image = noise(1, 5, 6, 7)
    assert network.apply(made(network, image.shape), image, train=False).shape == (1, 5, 6, 3)


def test_the_margin_continues_the_border():
    # 7×6 is filled up to 8×8 by repeating the last row and columns; so the caller may do it too.
    image = noise(1, 7, 6, 3)
    variables = made(SMALL)
    filled = jnp.pad(image, ((0, 0), (0, 1), (0, 2), (0, 0)), "edge")
    np.testing.assert_allclose(
        SMALL.apply(variables, image, train=False),
        SMALL.apply(variables, filled, train=False)[:, :7, :6],
        atol=1e-5,
    )


def test_seeds_reach_every_pixel_of_an_image_of_128():
    network = Pyramid(1, (8, 8, 8, 8, 8))
    variables = made(network, (1, 16, 16, 1))
    image = noise(1, 128, 128, 1)

    def corner(image):
        return network.apply(variables, image, train=False)[0, 0, 0, 0]

    slope = jax.grad(corner)(image)[0, ..., 0]
    assert (abs(slope[-4:, -4:]) > 0).any()
    # Group norm alone would reach everywhere; a change at the far corner must be more than that.
    changed = image.at[0, 127, 127].add(0.5)
    assert network.apply(variables, changed, False)[0, 0, 0, 0] != corner(image)


def test_each_image_is_on_its_own_in_training_too():
    variables = made(SMALL)
    image = noise(3, 8, 8, 3)
    together = SMALL.apply(variables, image, train=True)
    np.testing.assert_allclose(together[:1], SMALL.apply(variables, image[:1], train=True), atol=1e-5)
    np.testing.assert_allclose(together, SMALL.apply(variables, image, train=False), atol=0)
    assert variables.keys() == {"params"}


def test_each_level_has_its_width():
    kernels = made(Pyramid(1, (8, 16, 24)))["params"]
    widths = [k["kernel"].shape for k in kernels.values() if "kernel" in k]
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
    half = np.float32(network.apply(variables, image, train=False))
    full = Pyramid(2, (8, 8)).apply(variables, image, train=False)
    # bfloat16 keeps 8 bits.
    np.testing.assert_allclose(half, full, atol=0.05 * abs(full).max())
    assert (half != full).any()

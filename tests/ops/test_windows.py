import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from energynets.ops.windows import (
    accumulate,
    centred,
    channels,
    count,
    eroded,
    middles,
    surrounded,
)


def plane(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width))


def loop(array, radius):
    """The sum of every window, one window after the other."""
    height, width = count(array.shape, radius)
    side = 2 * radius + 1
    sums = [
        array[row : row + side, column : column + side].sum()
        for row, column in np.ndindex(height, width)
    ]
    return np.reshape(sums, (height, width))


def box_sum(array, radius):
    return accumulate(lambda at: at(array), radius)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 3))
def test_sums_are_those_of_a_loop_over_windows(height, width, radius):
    array = plane(height, width)
    sums = box_sum(jnp.asarray(array, jnp.float32), radius)
    assert sums.shape == count(array.shape, radius)
    np.testing.assert_allclose(sums, loop(array, radius), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "radius", "expected"),
    [((5, 7), 1, (3, 5)), ((5, 7), 2, (1, 3)), ((2, 9), 1, (0, 0)), ((4, 4), 0, (4, 4))],
)
def test_windows_lie_wholly_inside(shape, radius, expected):
    assert count(shape, radius) == expected
    assert middles(jnp.ones(shape), radius).shape == expected


def test_middles_are_the_pixels_at_the_radius_from_the_border():
    array = jnp.arange(35.0).reshape(5, 7)
    np.testing.assert_array_equal(middles(array, 1), array[1:-1, 1:-1])


@pytest.mark.parametrize("radius", [1, 2])
def test_summing_over_the_windows_of_a_pixel_is_the_transpose(radius):
    pixels = jnp.asarray(plane(6, 8), jnp.float32)
    over_windows = jnp.asarray(plane(*count(pixels.shape, radius), seed=1), jnp.float32)
    back = box_sum(surrounded(over_windows, radius), radius)
    assert back.shape == pixels.shape
    _, transpose = jax.vjp(lambda p: box_sum(p, radius), pixels)
    np.testing.assert_allclose(back, transpose(over_windows)[0], rtol=1e-5)


def test_terms_may_be_trees_and_see_one_place_at_a_time():
    array = jnp.asarray(plane(5, 6), jnp.float32)
    middle = middles(array, 1)
    sums = accumulate(lambda at: {"square": jnp.square(at(array) - middle), "one": 1.0}, 1)
    expected = [
        np.square(array[r : r + 3, c : c + 3] - array[r + 1, c + 1]).sum()
        for r, c in np.ndindex(3, 4)
    ]
    np.testing.assert_allclose(sums["square"].ravel(), expected, rtol=1e-5)
    assert sums["one"] == 9


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_sums_of_centred_products_are_those_of_a_loop_over_windows(radius):
    first, second = 5 + plane(7, 6), 5 + plane(7, 6, seed=1)
    means, total = centred([jnp.asarray(first), jnp.asarray(second)], radius)
    sums = total(lambda d: {"both": d[0] * d[1], "square": d[1] * d[1]})
    size = (2 * radius + 1) ** 2
    both = loop(first * second, radius) - loop(first, radius) * loop(second, radius) / size
    square = loop(second * second, radius) - loop(second, radius) ** 2 / size
    np.testing.assert_allclose(means[0] + middles(first, radius), loop(first, radius) / size, 1e-5)
    np.testing.assert_allclose(sums["both"], both, atol=2e-6)
    np.testing.assert_allclose(sums["square"], square, atol=2e-6)


@pytest.mark.parametrize("radius", [1, 2])
def test_centred_sums_of_what_is_constant_are_exactly_0(radius):
    _, total = centred([jnp.full((7, 8), 0.3)], radius)
    assert not total(lambda d: d[0] * d[0]).any()


@pytest.mark.parametrize("number", [0, 1, 4])
def test_channels_are_the_channels_to_the_last_bit(number):
    image = np.random.default_rng(0).normal(size=(5, 6, number)).astype(np.float32)
    found = jax.jit(channels)(image)
    assert len(found) == number
    for place, channel in enumerate(found):
        np.testing.assert_array_equal(channel, image[..., place])


def test_a_batch_by_vmap_is_the_loop():
    batch = jnp.asarray(np.random.default_rng(2).random((3, 5, 6)), jnp.float32)
    together = jax.vmap(lambda array: box_sum(array, 1))(batch)
    np.testing.assert_allclose(together, jnp.stack([box_sum(a, 1) for a in batch]), rtol=1e-6)


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match="radius must be 0 or more, got -1"):
        count((4, 4), -1)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_eroded_is_the_erosion_of_each_plane_with_the_outside_left_out(radius):
    known = np.random.default_rng(3).random((2, 9, 7, 2)) < 0.9
    square = np.ones((2 * radius + 1,) * 2, bool)
    expected = np.stack(
        [
            np.stack([binary_erosion(p, square, border_value=1) for p in np.moveaxis(one, -1, 0)])
            for one in known
        ]
    )
    assert expected.any() and not expected.all()
    found = np.asarray(eroded(jnp.asarray(known), radius))
    np.testing.assert_array_equal(np.moveaxis(found, -1, 1), expected)

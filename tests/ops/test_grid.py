import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energynets.ops.grid import differences, neighbours, over_last

SIZE = st.integers(1, 6)


@settings(max_examples=15, deadline=None)
@given(SIZE, SIZE, SIZE, st.sampled_from([0, 1]))
def test_differences_are_numpys_diff_at_any_shape(height, width, channels, axis):
    array = np.random.default_rng(0).random((height, width, channels), np.float32)
    np.testing.assert_array_equal(differences(jnp.asarray(array), axis), np.diff(array, axis=axis))


@pytest.mark.parametrize("axis", [0, 1])
def test_borders_do_not_wrap(axis):
    ramp = jnp.broadcast_to(jnp.arange(5.0), (5, 5))[..., None]
    along = ramp if axis == 1 else ramp.swapaxes(0, 1)
    # A wrapped grid would show a step of -4 from the last pixel to the first.
    assert jnp.all(differences(along, axis) == 1)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_picture_one_pixel_wide_has_no_differences_across(axis):
    shape = (1, 7, 3) if axis == 0 else (7, 1, 3)
    assert differences(jnp.ones(shape), axis).size == 0


@pytest.mark.parametrize("axis", [-1, 2])
def test_an_axis_that_is_not_of_the_grid_is_refused(axis):
    with pytest.raises(ValueError, match=f"axis must be 0 or 1, got {axis}"):
        differences(jnp.ones((3, 3, 1)), axis)


@settings(max_examples=15, deadline=None)
@given(SIZE, SIZE, st.sampled_from([0, 1]), st.sampled_from([-1, 1]), st.booleans())
def test_neighbours_are_numpys_roll_or_padding_by_the_edge(height, width, axis, step, wrap):
    array = np.random.default_rng(0).random((height, width, 2), np.float32)
    margin = [(0, 0)] * 3
    margin[axis] = (1, 1)
    expected = np.pad(array, margin, "wrap" if wrap else "edge")
    expected = np.roll(expected, -step, axis).take(range(1, 1 + array.shape[axis]), axis)
    ours = neighbours(jnp.asarray(array), axis, step, wrap=wrap)
    np.testing.assert_array_equal(ours, expected)


def test_neighbours_along_labels_are_refused():
    with pytest.raises(ValueError, match="axis must be 0 or 1, got 2"):
        neighbours(jnp.ones((3, 3, 1)), 2, 1)


@pytest.mark.parametrize("shape", [(30,), (40, 30), (3, 4, 0)])
def test_over_last_is_the_sum_over_the_last_axis(shape):
    array = np.random.default_rng(0).random(shape)
    sums = over_last(jnp.asarray(array, jnp.float32))
    np.testing.assert_allclose(sums, array.sum(-1), rtol=1e-6)

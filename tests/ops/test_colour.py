import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from energynets.ops.colour import grayscale


def test_grayscale_is_pillows_mode_l():
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    pillow = np.asarray(Image.fromarray(picture).convert("L"), np.float32) / 255
    ours = grayscale(jnp.asarray(picture, jnp.float32) / 255)
    assert ours.shape == (8, 9, 1)
    # Pillow rounds to 1/255.
    np.testing.assert_allclose(ours[..., 0], pillow, atol=0.51 / 255)


def test_white_stays_one_and_black_stays_zero():
    np.testing.assert_allclose(grayscale(jnp.ones((2, 2, 3))), 1, rtol=1e-6)
    np.testing.assert_array_equal(grayscale(jnp.zeros((2, 2, 3))), 0)


def test_one_channel_is_returned_as_it_is():
    image = jnp.arange(6.0).reshape(2, 3, 1)
    np.testing.assert_array_equal(grayscale(image), image)


def test_leading_axes_are_a_batch():
    images = jnp.asarray(np.random.default_rng(1).random((2, 4, 3, 3), np.float32))
    np.testing.assert_array_equal(grayscale(images)[1], grayscale(images[1]))


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channel_counts_are_refused(channels):
    with pytest.raises(ValueError, match=f"1 or 3 channels to become grey, got {channels}"):
        grayscale(jnp.ones((2, 2, channels)))

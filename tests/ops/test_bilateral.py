import math

import jax
import numpy as np
import pytest
import skimage.data
import skimage.transform
from jax.test_util import check_grads

from energynets.ops import bilateral

FEW = {"splits": (2, 2), "landmarks": 4}


def photograph(name: str, size: int) -> np.ndarray:
    picture = getattr(skimage.data, name)()
    side = min(picture.shape[:2])
    picture = skimage.transform.resize(picture[:side, :side], (size, size), anti_aliasing=True)
    return picture.astype(np.float32)


def stated(image: np.ndarray, values: np.ndarray, sigma_position, sigma_colour) -> np.ndarray:
    """Σ_q exp(-|p - q|²/2σ² - |I_p - I_q|²/2σ²) f_q, pair by pair in float64."""
    height, width, planes = values.shape
    pixels = list(np.ndindex(height, width))
    result = np.zeros((height, width, planes))
    for p in pixels:
        for q in pixels:
            apart = (np.subtract(p, q) ** 2 / np.square(sigma_position)).sum()
            colour = ((image[p].astype(float) - image[q]) ** 2 / np.square(sigma_colour)).sum()
            result[p] += np.exp(-(apart + colour) / 2) * values[q]
    return result


def small(channels: int = 3, shape: tuple[int, int] = (5, 7)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    image = random.random((*shape, channels)).astype(np.float32)
    return image, random.random((*shape, 2)).astype(np.float32)


@pytest.mark.parametrize("channels", [0, 1, 3, 5])
def test_brute_force_is_the_sum_over_all_pairs(channels):
    image, values = small(channels)
    result = bilateral.exact(image, values, sigma_position=2.0, sigma_colour=0.4)
    np.testing.assert_allclose(result, stated(image, values, 2.0, 0.4), rtol=2e-6)


def test_each_axis_and_each_channel_may_have_its_own_width():
    image, values = small()
    position, colour = np.array([2.0, 4.0]), np.array([0.2, 0.4, np.inf])
    widths = {"sigma_position": position, "sigma_colour": colour}
    expected = stated(image, values, position, colour)
    np.testing.assert_allclose(bilateral.exact(image, values, **widths), expected, rtol=1e-5)
    result = bilateral.apply(bilateral.affinity(image, **widths), values)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_small_pictures_are_filtered_exactly():
    image, values = small()
    affinity = bilateral.affinity(image, sigma_position=2.0, sigma_colour=0.4)
    expected = stated(image, values, 2.0, 0.4)
    np.testing.assert_allclose(bilateral.apply(affinity, values), expected, rtol=2e-6)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize(("position", "colour"), [(80, 13), (100, 15)])
def test_mass_and_values_lie_within_two_per_cent_of_brute_force_on_photographs(
    name, position, colour
):
    size = 96
    image = photograph(name, size)
    rows, columns = np.mgrid[:size, :size]
    planes = [np.ones((size, size)), rows < columns, (rows // 16 + columns // 16) % 2]
    values = np.stack([*planes, image[..., 0]], -1).astype(np.float32)
    widths = {"sigma_position": position * size / 320, "sigma_colour": colour / 255}
    expected = np.asarray(bilateral.exact(image, values, **widths))
    result = np.asarray(bilateral.apply(bilateral.affinity(image, **widths), values))
    assert abs(result[..., 0].sum() / expected[..., 0].sum() - 1) < 0.005
    error = np.linalg.norm(result - expected, axis=(0, 1))
    assert (error < 0.02 * np.linalg.norm(expected, axis=(0, 1))).all()


def test_it_is_its_own_adjoint():
    image = photograph("astronaut", 40)
    random = np.random.default_rng(1)
    f, g = random.standard_normal((2, 40, 40, 3)).astype(np.float32)
    affinity = bilateral.affinity(image, sigma_position=10.0, sigma_colour=0.05, **FEW)
    assert affinity.landmarks.shape == (4, 4, 5)  # not the exact form
    one = (g * bilateral.apply(affinity, f)).sum()
    other = (f * bilateral.apply(affinity, g)).sum()
    scale = np.linalg.norm(g) * np.linalg.norm(bilateral.apply(affinity, f))
    assert abs(one - other) < 1e-5 * scale


def test_its_derivative_is_itself():
    image, values = small(shape=(6, 9))
    affinity = bilateral.affinity(image, sigma_position=2.0, sigma_colour=0.4, **FEW)
    _, pull = jax.vjp(lambda f: bilateral.apply(affinity, f), values)
    np.testing.assert_allclose(pull(values)[0], bilateral.apply(affinity, values), rtol=1e-5)
    check_grads(lambda f: bilateral.apply(affinity, f), (values,), 1, rtol=1e-2, atol=1e-2)


def test_batches_are_filtered_as_single_pictures_are():
    images = np.stack([photograph(name, 24) for name in ("astronaut", "coffee")])
    values = np.random.default_rng(2).random((2, 24, 24, 3)).astype(np.float32)

    def filtered(image, value):
        made = bilateral.affinity(image, sigma_position=6.0, sigma_colour=0.1, **FEW)
        return bilateral.apply(made, value)

    together = jax.vmap(filtered)(images, values)
    for image, value, result in zip(images, values, together, strict=True):
        np.testing.assert_allclose(result, filtered(image, value), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_pictures_leave_the_gaussian_over_position(level):
    values = np.random.default_rng(3).random((23, 19, 2)).astype(np.float32)  # 437: leaves padded
    image = np.full((23, 19, 3), level, np.float32)
    widths = {"sigma_position": 12.0, "sigma_colour": 0.05}
    affinity = bilateral.affinity(image, splits=(2, 2), landmarks=16, **widths)
    assert affinity.order.shape == (4, 110)
    result = bilateral.apply(affinity, values)
    np.testing.assert_allclose(result, bilateral.exact(image, values, **widths), rtol=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1)])
def test_pictures_one_pixel_wide_are_finite(shape):
    image, values = small(shape=shape)
    widths = {"sigma_position": 5.0, "sigma_colour": 0.2}
    result = bilateral.apply(bilateral.affinity(image, **widths, **FEW), values)
    assert np.isfinite(result).all() and result.shape == values.shape


def test_other_shapes_are_refused():
    image, values = small()
    affinity = bilateral.affinity(image, sigma_position=2.0, sigma_colour=0.4)
    with pytest.raises(ValueError, match="as many pixels"):
        bilateral.apply(affinity, values[:4])
    with pytest.raises(ValueError, match="at least one pixel"):
        bilateral.affinity(image[..., 0], sigma_position=2.0, sigma_colour=0.4)
    with pytest.raises(ValueError, match="floating point"):
        bilateral.affinity((255 * image).astype(int), sigma_position=2.0, sigma_colour=0.4)
    with pytest.raises(ValueError, match="must agree"):
        bilateral.exact(image, values[:4], sigma_position=2.0, sigma_colour=0.4)


def test_four_times_the_pixels_have_twice_the_leaves():
    leaves = [
        math.prod(bilateral.default_splits(side**2)) for side in (1, 320, 400, 401, 800, 1600)
    ]
    assert leaves == [64, 64, 64, 128, 128, 256]


def test_memory_does_not_grow_with_pixels_times_landmarks():
    shape = jax.ShapeDtypeStruct
    pixels, leaves, count = 512**2, 64, 64
    size = pixels // leaves
    affinity = bilateral.Affinity(
        shape((leaves, size), np.int32),
        shape((pixels,), np.int32),
        shape((leaves, size, 5), np.float32),
        shape((leaves, count, 5), np.float32),
        shape((leaves, count, count), np.float32),
    )
    values = shape((512, 512, 1), np.float32)

    def squared(made, f):
        return (bilateral.apply(made, f) ** 2).sum()

    compiled = jax.jit(jax.grad(squared, 1)).lower(affinity, values).compile()
    used = compiled.memory_analysis().temp_size_in_bytes
    assert used < 0.5 * 4 * pixels * count

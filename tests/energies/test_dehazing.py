import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from energynets.energies import dehazing
from energynets.energies.dehazing import Hazy

SHAPE = (11, 14)
KINDS = ["black", "white", "flat", "one channel black", "noise", "photograph"]


@functools.cache
def picture(kind):
    made = {
        "black": np.zeros((*SHAPE, 3)),
        "white": np.ones((*SHAPE, 3)),
        "flat": np.full((*SHAPE, 3), (0.2, 0.5, 0.7)),
        "one channel black": np.random.default_rng(1).random((*SHAPE, 3)) * (1, 0, 1),
        "noise": np.random.default_rng(0).random((*SHAPE, 3)),
        "photograph": skimage.data.coffee()[100:111, 200:214] / 255,
    }[kind]
    return made.astype(np.float32)


def slow_dark_channel(image, radius):
    height, width, _ = image.shape
    darkest = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            patch = image[
                max(0, row - radius) : row + radius + 1,
                max(0, column - radius) : column + radius + 1,
            ]
            darkest[row, column] = patch.min()
    return darkest


def slow_airlight(image, dark, way, share):
    places = np.argsort(-dark.ravel(), kind="stable")[: max(1, int(share * dark.size))]
    colours = image.reshape(-1, image.shape[-1])[places]
    if way == "brightest":
        return max(colours, key=lambda colour: colour.sum())
    return {"maximum": colours.max, "mean": colours.mean}[way](axis=0)


def slow_energy(image, coarse, t, weight, epsilon):
    """Half of the sum over ordered pairs of the 3×3 windows, and the data term."""
    height, width, channels = image.shape
    total = weight * ((t - coarse) ** 2).sum()
    for row in range(height - 2):
        for column in range(width - 2):
            colours = image[row : row + 3, column : column + 3].reshape(9, channels)
            values = t[row : row + 3, column : column + 3].ravel()
            centred = colours - colours.mean(0)
            covariance = centred.T @ centred / 9 + epsilon / 9 * np.eye(channels)
            weights = (1 + centred @ np.linalg.solve(covariance, centred.T)) / 9
            total += 0.5 * (weights * (values[:, None] - values) ** 2).sum()
    return total


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 6))
def test_the_dark_channel_is_the_minimum_of_a_slow_loop(height, width, channels, radius):
    image = np.random.default_rng(height * width).random((height, width, channels))
    image = image.astype(np.float32)
    found = dehazing.dark_channel(image, radius=radius)
    np.testing.assert_array_equal(found, slow_dark_channel(image, radius))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["brightest", "maximum", "mean"])
def test_airlight_is_that_of_the_pixels_sorted_by_their_dark_channel(kind, way):
    image = picture(kind)
    dark = slow_dark_channel(image, 2).astype(np.float32)
    for share in (1e-3, 0.1, 1.0):  # one pixel, some, all
        found = dehazing.airlight(image, dark, way=way, share=share)
        # A float32 mean of 154 colours is right to some 1e-6.
        np.testing.assert_allclose(found, slow_airlight(image, dark, way, share), rtol=1e-5)


def test_the_three_ways_differ_and_the_maximum_is_never_darker():
    image, dark = picture("noise"), dehazing.dark_channel(picture("noise"), radius=1)
    ways = ("brightest", "maximum", "mean")
    brightest, maximum, mean = (dehazing.airlight(image, dark, way=way, share=0.1) for way in ways)
    assert (maximum >= brightest).all() and (maximum > mean).all()
    assert not np.allclose(maximum, brightest)


@pytest.mark.parametrize("kind", KINDS)
def test_coarse_transmission_is_its_formula_in_float64(kind):
    image = picture(kind).astype(np.float64)
    air = np.array([0.9, 0.7, 0.5])
    expected = 1 - 0.8 * slow_dark_channel(image / air, 3)
    found = dehazing.coarse_transmission(image.astype(np.float32), air, omega=0.8, radius=3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_of_the_veil_and_of_what_is_beyond_it_different_shares_are_taken(kind):
    image, air = picture(kind), np.array([0.9, 0.7, 0.5])
    dark = slow_dark_channel(image.astype(np.float64) / air, 2)
    veil = np.quantile(dark, 0.1)
    expected = 1 - 0.9 * veil - 0.5 * (dark - veil)
    options = {"share": 0.1, "radius": 2}
    found = dehazing.veil_transmission(image, air, omega=0.9, excess=0.5, **options)
    np.testing.assert_allclose(found, expected, atol=5e-7)  # rounding of float32
    papers = dehazing.coarse_transmission(image, air, omega=0.7, radius=2)
    alike = dehazing.veil_transmission(image, air, omega=0.7, excess=0.7, **options)
    np.testing.assert_allclose(alike, papers, atol=5e-7)


def test_haze_of_one_thickness_is_found_though_nothing_in_the_picture_is_black():
    # Every patch but one has something bright, which the dark channel takes for haze.
    clear = np.full((*SHAPE, 3), 0.6, np.float32)
    clear[:3] = 0
    hazy, air = 0.5 * clear + 0.5, np.ones(3, np.float32)
    t = dehazing.veil_transmission(hazy, air, omega=1.0, excess=0.0, share=0.1, radius=1)
    np.testing.assert_allclose(t, 0.5, atol=1e-6)
    np.testing.assert_allclose(dehazing.recovery(hazy, t, air), clear, atol=1e-6)
    assert np.ptp(dehazing.coarse_transmission(hazy, air, omega=1.0, radius=1)) > 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_energy_is_the_sum_over_pairs_and_the_squared_distance(kind):
    image = picture(kind)
    random = np.random.default_rng(3)
    coarse, t = random.random((2, *SHAPE)).astype(np.float32)
    expected = slow_energy(*(a.astype(np.float64) for a in (image, coarse, t)), 0.3, 1e-6)
    found = dehazing.energy(Hazy(image, coarse), t, data_weight=0.3, epsilon=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # rounding of float32
    with jax.enable_x64(True):
        found = dehazing.energy(
            Hazy(*(jnp.asarray(a, jnp.float64) for a in (image, coarse))),
            jnp.asarray(t, jnp.float64),
            data_weight=0.3,
            epsilon=1e-6,
        )
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_derivatives_of_the_energy_are_right_to_second_order():
    with jax.enable_x64(True):
        image = jnp.asarray(picture("noise"), jnp.float64)
        coarse, t = jnp.asarray(np.random.default_rng(3).random((2, *SHAPE)))
        check_grads(
            lambda t, coarse: dehazing.energy(Hazy(image, coarse), t, data_weight=0.1),
            (t, coarse),
            order=2,
        )


def test_turning_the_picture_does_not_change_the_energy():
    random = np.random.default_rng(4)
    image, (coarse, t) = picture("photograph"), random.random((2, *SHAPE)).astype(np.float32)
    turned = dehazing.energy(Hazy(np.rot90(image), np.rot90(coarse)), np.rot90(t))
    np.testing.assert_allclose(turned, dehazing.energy(Hazy(image, coarse), t), rtol=1e-5)


def test_recovery_undoes_haze_made_by_the_formula():
    random = np.random.default_rng(5)
    clear, air = picture("photograph"), np.array([0.9, 0.8, 0.85], np.float32)
    t = random.uniform(0.1, 1, SHAPE).astype(np.float32)
    hazy = t[..., None] * clear + (1 - t[..., None]) * air
    np.testing.assert_allclose(dehazing.recovery(hazy, t, air), clear, atol=1e-5)
    # Below t₀ the transmission counts as t₀.
    floored = dehazing.recovery(hazy, np.zeros(SHAPE, np.float32), air, least=0.5)
    np.testing.assert_allclose(floored, (hazy - air) / 0.5 + air, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["brightest", "maximum", "mean"])
def test_every_step_is_finite_on_pictures_without_anything_to_see(kind, way):
    image = jnp.asarray(picture(kind))

    def dehazed(image):
        air = dehazing.airlight(image, dehazing.dark_channel(image), way=way)
        coarse = dehazing.coarse_transmission(image, air)
        value = dehazing.energy(Hazy(image, coarse), coarse)
        return value + dehazing.recovery(image, coarse, air).sum(), (air, coarse)

    (value, rest), slope = jax.value_and_grad(dehazed, has_aux=True)(image)
    for array in (value, slope, *rest):
        assert np.isfinite(array).all()


def test_a_black_picture_and_black_air_mean_no_haze():
    black = picture("black")
    coarse = dehazing.coarse_transmission(black, np.zeros(3, np.float32))
    assert (coarse == 1).all()
    assert (dehazing.recovery(black, coarse, np.zeros(3, np.float32)) == 0).all()


def test_pictures_one_pixel_wide_have_every_step():
    image = np.random.default_rng(6).random((5, 1, 3)).astype(np.float32)
    air = dehazing.airlight(image, dehazing.dark_channel(image))
    coarse = dehazing.coarse_transmission(image, air)
    value = dehazing.energy(Hazy(image, coarse), coarse + 1, data_weight=2.0)
    np.testing.assert_allclose(value, 10, rtol=1e-6)
    assert np.isfinite(dehazing.recovery(image, coarse, air)).all()


def test_a_batch_is_a_vmap():
    images = np.random.default_rng(7).random((3, *SHAPE, 3)).astype(np.float32)

    def steps(image):
        air = dehazing.airlight(image, dehazing.dark_channel(image), share=0.05)
        return dehazing.recovery(image, dehazing.coarse_transmission(image, air), air)

    together = jax.vmap(steps)(images)
    for one, image in zip(together, images, strict=True):
        np.testing.assert_allclose(one, steps(image), rtol=1e-5)


def test_what_does_not_fit_is_refused():
    image, plane, air = np.zeros((5, 6, 3)), np.zeros((5, 6)), np.zeros(3)
    with pytest.raises(ValueError, match="radius must be 0 or more, got -1"):
        dehazing.dark_channel(image, radius=-1)
    with pytest.raises(ValueError, match="must agree"):
        dehazing.airlight(image, np.zeros((6, 5)))
    with pytest.raises(ValueError, match="brightest, maximum or mean, got 'median'"):
        dehazing.airlight(image, plane, way="median")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="share must be above 0"):
        dehazing.airlight(image, plane, share=0.0)
    with pytest.raises(ValueError, match="one value a channel"):
        dehazing.coarse_transmission(image, np.zeros(4))
    with pytest.raises(ValueError, match="one value a channel"):
        dehazing.veil_transmission(image, np.zeros(4))
    with pytest.raises(ValueError, match="share must be from 0 to 1, got 5"):
        dehazing.veil_transmission(image, air, share=5)
    with pytest.raises(ValueError, match="one value a channel"):
        dehazing.recovery(image, plane, np.zeros(1))
    with pytest.raises(ValueError, match="must agree"):
        dehazing.recovery(image, np.zeros((6, 5)), air)
    with pytest.raises(ValueError, match="same grid"):
        dehazing.energy(Hazy(image, plane), np.zeros((6, 5)))

import builtins

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from energynets.errors import BadInputError
from energynets.metrics import restoration


def pair(seed=0, shape=(23, 19, 3)):
    random = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(random.random(shape), (2, 2, 0))
    truth = (truth - truth.min()) / (truth.max() - truth.min())
    return np.clip(truth + 0.1 * random.normal(size=shape), 0, 1), truth


def test_psnr_is_scikit_images():
    image, truth = pair()
    expected = peak_signal_noise_ratio(truth, image, data_range=1)
    assert np.isclose(restoration.psnr(image, truth), expected, rtol=1e-12)
    assert restoration.psnr(truth, truth) == np.inf
    assert np.isclose(restoration.psnr(np.zeros((4, 4, 3)), np.ones((4, 4, 3))), 0)


def test_ssim_is_the_formula_with_gaussian_moments():
    image, truth = pair()

    def smooth(plane):  # the window ends 5 pixels from its middle
        return ndimage.gaussian_filter(plane, 1.5, truncate=3.5, mode="reflect")

    values = []
    for channel in range(3):
        x, y = image[..., channel], truth[..., channel]
        mx, my = smooth(x), smooth(y)
        vx, vy, vxy = smooth(x * x) - mx**2, smooth(y * y) - my**2, smooth(x * y) - mx * my
        c1, c2 = 0.01**2, 0.03**2
        index = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        values.append(index[5:-5, 5:-5].mean())
    assert np.isclose(restoration.ssim(image, truth), np.mean(values), rtol=1e-9)
    assert np.isclose(restoration.ssim(truth, truth), 1)


def test_pictures_are_clipped_before_they_are_scored():
    image, truth = pair()
    beyond = np.where(image > 0.9, 3.0, image)
    clipped = np.minimum(beyond, 1)
    assert restoration.psnr(beyond, truth) == restoration.psnr(clipped, truth)
    assert restoration.ssim(beyond, truth) == restoration.ssim(clipped, truth)


def test_a_picture_too_small_for_ssim_is_refused_in_one_line():
    with pytest.raises(BadInputError, match="at least 11×11 pixels, got 30×10"):
        restoration.ssim(np.zeros((10, 30, 3)), np.zeros((10, 30, 3)))
    assert np.isclose(restoration.ssim(np.zeros((11, 11, 3)), np.zeros((11, 11, 3))), 1)


def test_without_scikit_image_ssim_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith("skimage"):
            raise ModuleNotFoundError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BadInputError, match=r"energynets\[experiments\]"):
        restoration.ssim(np.zeros((11, 11, 3)), np.zeros((11, 11, 3)))


def test_the_stretch_takes_the_extremes_of_the_whole_picture_to_0_and_1():
    image = np.random.default_rng(1).uniform(-0.3, 0.6, (4, 5, 3))
    stretched = restoration.stretch(image)
    assert stretched.min() == 0 and stretched.max() == 1
    # One affine map for all channels, so that colours keep their order.
    slope = np.diff(stretched.ravel()) / np.diff(image.ravel())
    np.testing.assert_allclose(slope, 1 / (image.max() - image.min()), rtol=1e-9)


@pytest.mark.parametrize("value", [-2.0, 0.0, 0.4, 7.0])
def test_a_picture_of_one_value_has_nothing_to_stretch(value):
    flat = restoration.stretch(np.full((3, 4, 3), value))
    np.testing.assert_array_equal(flat, np.clip(value, 0, 1))

import numpy as np
import pytest
import scipy.ndimage

from energynets.ops import derivatives

PLANES = np.random.default_rng(0).random((7, 9, 2)).astype(np.float32)


def test_sobel_is_scipys():
    down, right = derivatives.sobel(PLANES)
    for axis, ours in ((0, down), (1, right)):
        expected = [scipy.ndimage.sobel(PLANES[..., k], axis, mode="nearest") for k in range(2)]
        np.testing.assert_allclose(ours, np.stack(expected, -1), atol=1e-5)


def test_central_differences_and_hessian_are_exact_on_quadratics():
    rows, columns = np.mgrid[:7, :9].astype(np.float32)
    plane = (rows**2 + 3 * rows * columns - 2 * columns**2)[..., None]
    down, right = (d[1:-1, 1:-1, 0] for d in derivatives.central(plane))
    np.testing.assert_allclose(down, (2 * rows + 3 * columns)[1:-1, 1:-1], atol=1e-4)
    np.testing.assert_allclose(right, (3 * rows - 4 * columns)[1:-1, 1:-1], atol=1e-4)
    for ours, expected in zip(derivatives.hessian(plane), (2, 3, -4), strict=True):
        np.testing.assert_allclose(ours[1:-1, 1:-1, 0], expected, atol=1e-4)


def test_blur_is_scipys():
    expected = [
        scipy.ndimage.gaussian_filter(PLANES[..., k], 1.5, mode="nearest", radius=3)
        for k in range(2)
    ]
    np.testing.assert_allclose(derivatives.blur(PLANES, 1.5, 3), np.stack(expected, -1), atol=1e-5)


def test_wrong_taps_and_radii_are_refused():
    with pytest.raises(ValueError, match="odd"):
        derivatives.along(PLANES, 0, [1.0, 1.0])
    with pytest.raises(ValueError, match="0 or more"):
        derivatives.blur(PLANES, 1.0, -1)

import numpy as np
import pytest
from scipy import ndimage

from energynets.metrics import matting


def disc(size=40, radius=12.0, soft=3.0):
    down, across = np.mgrid[:size, :size] - size / 2
    return np.clip((radius - np.hypot(down, across)) / soft + 0.5, 0, 1)


def pair(seed=0, shape=(13, 17)):
    random = np.random.default_rng(seed)
    return random.random(shape), random.random(shape), random.random(shape) < 0.4


def test_mse_and_sad_are_sums_of_a_slow_loop():
    alpha, truth, unknown = pair()
    squares = sums = pixels = 0.0
    for place in np.ndindex(alpha.shape):
        if unknown[place]:
            squares += (alpha[place] - truth[place]) ** 2
            sums += abs(alpha[place] - truth[place])
            pixels += 1
    assert np.isclose(matting.mse(alpha, truth, unknown), squares / pixels, rtol=1e-12)
    assert np.isclose(matting.sad(alpha, truth, unknown), sums, rtol=1e-12)
    assert np.isclose(matting.mse(alpha, truth), np.mean((alpha - truth) ** 2), rtol=1e-12)
    assert np.isclose(matting.sad(alpha, truth), np.abs(alpha - truth).sum(), rtol=1e-12)
    assert np.isnan(matting.mse(alpha, truth, np.zeros_like(unknown)))


@pytest.mark.parametrize("score", matting.SUMMARY)
def test_the_truth_itself_has_no_error_and_a_wrong_matte_has_one(score):
    truth = disc()
    unknown = (truth > 0) & (truth < 1)
    assert matting.summary(truth, truth, unknown)[score] == 0
    wrong = np.where(unknown, np.roll(truth, 3, 1) * 0.7, truth)
    assert matting.summary(wrong, truth, unknown)[score] > 0


def slow_gradient(plane, sigma=1.4):
    """The full two-dimensional filters, as the benchmark writes them, over a padded plane."""
    reach = 3
    assert np.exp(-(reach**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi)) > 0.01
    assert np.exp(-((reach + 1) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi)) < 0.01
    reach += 1  # rounded up

    def bell(x):
        return np.exp(-(x**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))

    offsets = range(-reach, reach + 1)
    down = np.array([[bell(j) * -i * bell(i) / sigma**2 for j in offsets] for i in offsets])
    down /= np.sqrt((down**2).sum())
    padded = np.pad(plane, reach, "edge")
    amplitude = np.zeros(plane.shape)
    for row, column in np.ndindex(plane.shape):
        patch = padded[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        amplitude[row, column] = np.hypot((patch * down).sum(), (patch * down.T).sum())
    return amplitude


def test_the_gradient_error_is_that_of_the_two_dimensional_filters():
    alpha, truth, unknown = pair(1)
    expected = ((slow_gradient(alpha) - slow_gradient(truth)) ** 2)[unknown].sum()
    assert np.isclose(matting.gradient_error(alpha, truth, unknown), expected, rtol=1e-9)


def slow_connectivity(alpha, truth, unknown):
    """Pixel by pixel: the highest threshold at which it is still in the largest common region."""
    regions = []
    for threshold in np.arange(11) / 10:
        labels = np.zeros(alpha.shape, int)
        count = ndimage.label((alpha >= threshold) & (truth >= threshold), output=labels)
        sizes = [(labels == k + 1).sum() for k in range(count)]
        regions.append(labels == np.argmax(sizes) + 1 if sizes else np.zeros(alpha.shape, bool))
    total = 0.0
    for place in np.ndindex(alpha.shape):
        if not unknown[place]:
            continue
        level = 1.0
        for step in range(1, 11):
            if not regions[step][place]:
                level = (step - 1) / 10
                break
        phi = []
        for matte in (alpha, truth):
            distance = matte[place] - level
            phi.append(1 - (distance if distance >= 0.15 else 0))
        total += abs(phi[0] - phi[1])
    return total


def test_the_connectivity_error_is_that_of_a_slow_loop():
    for seed in range(4):
        alpha, truth, unknown = pair(seed)
        expected = slow_connectivity(alpha, truth, unknown)
        assert np.isclose(matting.connectivity_error(alpha, truth, unknown), expected, rtol=1e-9)
        assert expected > 0


def test_small_errors_cost_connectivity_only_where_the_object_is_cut_off():
    truth = np.zeros((20, 30))
    truth[5:15, 3:15] = 1
    everywhere = np.ones(truth.shape, bool)
    near = truth * 0.93  # within θ of the threshold 0.9, up to which all hangs together
    assert matting.connectivity_error(near, truth, everywhere) == 0
    cut = near.copy()
    cut[5:15, 10] = 0.2  # parts four columns, where the distance to 0.2 now counts
    expected = 10 * 4 * 0.07 + 10 * 0.8
    found = matting.connectivity_error(cut, truth, everywhere)
    assert np.isclose(found, expected), (found, expected)


def test_a_matte_outside_0_and_1_is_clipped_in_the_summary():
    truth = disc()
    unknown = np.ones(truth.shape, bool)
    beyond = np.where(truth == 1, 1.5, np.where(truth == 0, -0.5, truth))
    assert set(matting.summary(beyond, truth, unknown).values()) == {0.0}

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg as sla
import skimage.data
import skimage.transform
from PIL import Image
from scipy import ndimage

import energynets
from energynets.energies import dehazing
from energynets.energies.dehazing import Hazy
from energynets.interface import clearing, solving
from energynets.metrics import restoration

CLEAR = skimage.data.coffee()[100:140, 200:244] / 255
AIR = np.array([0.8, 0.85, 0.9])
T = 0.35 + 0.5 * np.linspace(0, 1, 44) * np.ones((40, 1))
HAZY = (T[..., None] * CLEAR + (1 - T[..., None]) * AIR).astype(np.float32)


def sparse_solution(image, coarse, weight, epsilon):
    """(L + λ)⁻¹ λ t̃ with L from the pairs of every window, by SuperLU in float64."""
    height, width, channels = image.shape
    index = np.arange(height * width).reshape(height, width)
    colours = image.reshape(-1, channels).astype(float)
    matrix = sparse.lil_matrix((index.size, index.size))
    for row in range(height - 2):
        for column in range(width - 2):
            window = index[row : row + 3, column : column + 3].ravel()
            centred = colours[window] - colours[window].mean(0)
            covariance = centred.T @ centred / 9 + epsilon / 9 * np.eye(channels)
            block = np.eye(9) - (1 + centred @ np.linalg.solve(covariance, centred.T)) / 9
            matrix[np.ix_(window, window)] += block
    system = sparse.csc_matrix(matrix) + weight * sparse.eye(index.size, format="csc")
    solution = sla.spsolve(system, weight * coarse.ravel().astype(float))
    return solution.reshape(height, width)


PAPER = {"omega": 0.95, "excess": 0.95}


@pytest.mark.parametrize("options", [{}, PAPER])
def test_the_exact_transmission_is_that_of_a_sparse_direct_solve(options):
    found = energynets.dehaze(HAZY, airlight=AIR, patch=5, **options)
    air = AIR.astype(np.float32)
    coarse = dehazing.veil_transmission(HAZY, air, radius=2)
    if options:
        coarse = dehazing.coarse_transmission(HAZY, air, radius=2)
    expected = sparse_solution(HAZY, np.asarray(coarse), 1e-4, 1e-6)
    np.testing.assert_allclose(found.transmission, np.clip(expected, 0, 1), atol=2e-3)
    least = float(dehazing.energy(Hazy(HAZY, coarse), expected.astype(np.float32)))
    np.testing.assert_allclose(found.energy, least, rtol=1e-2)
    clear = dehazing.recovery(HAZY, expected.astype(np.float32), AIR.astype(np.float32))
    np.testing.assert_allclose(found.image, np.clip(clear, 0, 1), atol=1e-2)


def test_haze_is_taken_away():
    found = energynets.dehaze(HAZY, airlight=AIR, patch=5)
    assert restoration.psnr(found.image, CLEAR) > restoration.psnr(HAZY, CLEAR) + 3
    less = energynets.dehaze(HAZY, airlight=AIR, patch=5, omega=0.0, excess=0.0)
    np.testing.assert_allclose(less.image, HAZY, atol=1e-2)


def test_more_steps_of_polish_come_closer():
    runs = [energynets.dehaze(HAZY, method="polish", steps=n, patch=5) for n in (1, 10, 60)]
    exact = energynets.dehaze(HAZY, patch=5, optimality=True)
    energies = [run.energy for run in runs]
    assert energies[0] > energies[1] > energies[2] >= exact.energy * (1 - 1e-3)
    assert exact.gap == 0
    start = exact.transmission
    begun = energynets.dehaze(HAZY, method="polish", steps=1, patch=5, start=start)
    assert begun.energy < energies[1]


def test_where_its_steps_do_not_suffice_the_direct_solver_takes_over(monkeypatch):
    small, steps = HAZY[:13, :17], 3
    monkeypatch.setattr(solving, "MOST_STEPS", steps)
    found = energynets.dehaze(small, airlight=AIR, patch=5)
    assert found.converged and found.steps > steps
    coarse = dehazing.veil_transmission(small, AIR.astype(np.float32), radius=2)
    expected = sparse_solution(small, np.asarray(coarse), 1e-4, 1e-6)
    np.testing.assert_allclose(found.transmission, np.clip(expected, 0, 1), atol=2e-3)
    monkeypatch.setattr(clearing, "DIRECT_PIXELS", 13 * 17 - 1)
    unfinished = energynets.dehaze(small, airlight=AIR, patch=5)
    assert not unfinished.converged and unfinished.steps == steps


def affine(pictures, coarse):
    """A network whose answer is an affine function of the colours that it is given."""
    assert pictures.shape[:-1] == coarse.shape
    return 0.2 + 0.5 * pictures[..., 0] + 0.1 * pictures[..., 2]


def test_what_the_network_says_of_a_small_picture_is_drawn_on_the_large_one():
    found = energynets.dehaze(HAZY, method="network", network=affine)
    np.testing.assert_allclose(found.transmission, affine(HAZY, HAZY[..., 0]), atol=1e-6)
    large = np.asarray(Image.fromarray(np.uint8(HAZY * 255)).resize((150, 120))) / np.float32(255)
    seen = []
    drawn = energynets.dehaze(
        large, method="network", network=lambda *a: (seen.append(a), affine(*a))[1]
    )
    assert seen[0][0].shape == (1, 128, 128, 3) and seen[0][1].shape == (1, 128, 128)
    # Slopes are a little less steep, by the ε of the fit.
    np.testing.assert_allclose(drawn.transmission, affine(large, large[..., 0]), atol=0.05)
    from_there = energynets.dehaze(large, method="polish", network=affine, steps=3)
    assert from_there.energy < drawn.energy


def test_the_network_of_the_package_needs_three_channels_or_one():
    grey = energynets.dehaze(HAZY[..., :1], method="network", network=affine)
    assert grey.transmission.shape == HAZY.shape[:2]
    with pytest.raises(energynets.BadInputError, match="wanted 1 or 3 channels for the network"):
        energynets.dehaze(HAZY[..., :2], method="network", network=affine)
    # Polish goes on without the shipped one.
    two = energynets.dehaze(HAZY[..., :2], method="polish", steps=2)
    assert two.image.shape == (40, 44, 2) and np.isfinite(two.image).all()


def test_the_shipped_network_takes_haze_away_and_comes_near_the_least_energy():
    clear = skimage.transform.resize(skimage.data.coffee() / 255, (100, 150), anti_aliasing=True)
    t = np.linspace(0.35, 0.85, 150)[None, :, None]
    hazy = (t * clear + (1 - t) * AIR).astype(np.float32)
    found = energynets.dehaze(hazy, method="network", optimality=True)
    best = energynets.dehaze(hazy)
    assert restoration.psnr(found.image, clear) > restoration.psnr(hazy, clear) + 3
    assert np.abs(found.transmission - best.transmission).mean() < 0.05
    polished = energynets.dehaze(hazy, method="polish", steps=20)
    assert best.energy < polished.energy < found.energy and found.gap > 0


@pytest.mark.parametrize("way", ["brightest", "maximum", "mean"])
def test_the_airlight_is_found_in_three_ways(way):
    found = energynets.dehaze(HAZY, airlight=way, patch=5, method="polish", steps=1)
    dark = dehazing.dark_channel(HAZY, radius=2)
    np.testing.assert_array_equal(found.airlight, dehazing.airlight(HAZY, dark, way=way))


def test_the_stretch_is_done_only_where_it_is_asked_for():
    plain = energynets.dehaze(HAZY, patch=5)
    wide = energynets.dehaze(HAZY, patch=5, stretch=True)
    assert wide.image.min() == 0 and wide.image.max() == 1
    np.testing.assert_array_equal(wide.transmission, plain.transmission)
    assert not np.allclose(wide.image, plain.image)


def test_batches_are_what_each_is_alone():
    smooth = ndimage.gaussian_filter(HAZY, (1, 1, 0))
    batch = energynets.dehaze(np.stack([HAZY, smooth]), patch=5, method="polish")
    alone = energynets.dehaze(smooth, patch=5, method="polish")
    np.testing.assert_allclose(batch.image[1], alone.image, atol=1e-5)
    assert batch.airlight.shape == (2, 3) and batch.transmission.shape == (2, 40, 44)


@pytest.mark.parametrize("method", ["exact", "polish"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_pictures_of_one_colour_stay_finite(method, value):
    found = energynets.dehaze(np.full((40, 44, 3), value), method=method)
    for array in (found.image, found.transmission, found.airlight):
        assert np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1


def test_an_airlight_of_zero_leaves_the_picture_within_0_and_1():
    for air in ((0, 0, 0), (0, 0.5, 0.5)):
        found = energynets.dehaze(HAZY, airlight=air, method="polish")
        assert np.isfinite(found.image).all() and 0 <= found.image.min() <= found.image.max() <= 1
    black = np.zeros((40, 44, 3))
    assert (energynets.dehaze(black).image == 0).all()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"airlight": "darkest"}, "airlight: wanted brightest, maximum, mean"),
        ({"airlight": (0.5, 0.5)}, "airlight: wanted 3 values"),
        ({"airlight": (0.5, 0.5, 2)}, "airlight: wanted 3 values"),
        ({"omega": 1.5}, "omega: wanted a number from 0 to 1"),
        ({"excess": -0.1}, "excess: wanted a number from 0 to 1"),
        ({"omega": np.nan}, "omega: wanted a number from 0 to 1"),
        ({"airlight": np.ones((2, 3))}, "airlight: wanted 3 values"),
        ({"airlight": ("a", "b", "c")}, "airlight: wanted 3 values"),
        ({"patch": 4}, "patch: wanted an odd number"),
        ({"patch": None}, "patch: wanted a number"),
        ({"data_weight": 0.0}, "data_weight: wanted a number"),
        ({"least": 0.0}, "least: wanted a number"),
        ({"method": "network", "network": "nothing"}, "nothing: wanted one of .*dehazing"),
    ],
)
def test_options_that_make_no_sense_are_refused(more, told):
    with pytest.raises(energynets.BadInputError, match=told):
        energynets.dehaze(HAZY, **more)

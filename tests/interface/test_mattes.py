import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg as sla

import energynets
from energynets.data import trimaps
from energynets.data.embedded import Embedded
from energynets.energies import matting
from energynets.seeded import Seeded

SOURCE = Embedded("val", size=40)
IMAGE = SOURCE[1].image
TRUTH = SOURCE.alpha(1)
MASK = np.where(TRUTH >= 0.5, 255, 0).astype(np.uint8)
TRIMAP = trimaps.from_mask(MASK, 4)
SCRIBBLES = np.where(SOURCE[1].seeds == 255, 128, np.where(SOURCE[1].seeds > 0, 255, 0))


def sparse_solution(image, trimap, epsilon, weight):
    """(L + λQ)⁻¹ λx with L from the 81 pairs of every window, by SuperLU in float64."""
    height, width, channels = image.shape
    index = np.arange(height * width).reshape(height, width)
    colours = image.reshape(-1, channels).astype(float)
    rows, columns, values = [], [], []
    for row in range(height - 2):
        for column in range(width - 2):
            window = index[row : row + 3, column : column + 3].ravel()
            centred = colours[window] - colours[window].mean(0)
            covariance = centred.T @ centred / 9 + epsilon / 9 * np.eye(channels)
            block = np.eye(9) - (1 + centred @ np.linalg.solve(covariance, centred.T)) / 9
            rows.append(np.repeat(window, 9))
            columns.append(np.tile(window, 9))
            values.append(block.ravel())
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    known = (trimap != 128).ravel().astype(float)
    matrix = sparse.csc_matrix(entries) + weight * sparse.diags(known)
    alpha = sla.spsolve(sparse.csc_matrix(matrix), weight * (trimap == 255).ravel().astype(float))
    return alpha.reshape(height, width)


@pytest.mark.parametrize("trimap", [TRIMAP, SCRIBBLES.astype(np.uint8)])
def test_the_exact_matte_is_that_of_a_sparse_direct_solve(trimap):
    found = energynets.matte(IMAGE, trimap)
    expected = sparse_solution(IMAGE, trimap, 1e-5, 1.0)
    assert found.converged and found.residual < 3e-5
    # Weakly held regions move by more than the residual says.
    np.testing.assert_allclose(found.alpha, np.clip(expected, 0, 1), atol=5e-3)
    with jax.enable_x64(True):
        problem = Seeded(jnp.asarray(IMAGE, jnp.float64), jnp.asarray(trimaps.planes(trimap)))
        least = float(matting.energy(problem, jnp.asarray(expected)))
    np.testing.assert_allclose(found.energy, least, rtol=1e-3)


def test_more_steps_of_polish_come_closer_and_a_start_is_gone_on_from():
    runs = [energynets.matte(IMAGE, TRIMAP, method="polish", steps=n) for n in (1, 10, 60)]
    exact = energynets.matte(IMAGE, TRIMAP)
    energies = [run.energy for run in runs]
    assert energies[0] > energies[1] > energies[2] >= exact.energy * (1 - 1e-4)
    begun = [
        energynets.matte(IMAGE, TRIMAP, method="polish", steps=n, start=runs[1].alpha).energy
        for n in (0, 10)
    ]
    assert energies[0] > begun[0] > begun[1]
    assert energynets.matte(IMAGE, TRIMAP, optimality=True).gap == 0


def test_the_shipped_network_is_better_than_its_trimap_and_polish_goes_on_from_it():
    found = energynets.matte(IMAGE, TRIMAP, method="network")
    unknown = TRIMAP == 128
    error = np.mean((found.alpha - TRUTH)[unknown] ** 2)
    assert error < 0.25 * np.mean((0.5 - TRUTH[unknown]) ** 2)
    polished = energynets.matte(IMAGE, TRIMAP, method="polish", steps=5)
    cold = energynets.matte(IMAGE, TRIMAP, method="polish", steps=5, start=TRIMAP / 255)
    least = energynets.matte(IMAGE, TRIMAP).energy
    assert found.energy > polished.energy > least * (1 - 1e-4)
    assert cold.energy > polished.energy


def test_alpha_never_leaves_0_and_1_and_batches_are_what_each_is_alone():
    batch = energynets.matte([IMAGE, IMAGE[::-1]], [TRIMAP, TRIMAP[::-1]])
    assert batch.alpha.shape == (2, 40, 40) and batch.alpha.dtype == np.float32
    assert batch.alpha.min() >= 0 and batch.alpha.max() <= 1
    np.testing.assert_allclose(batch.alpha[1][::-1], batch.alpha[0], atol=5e-3)
    error = np.mean((batch.alpha[0] - TRUTH) ** 2)
    assert error < 0.02, error


def test_where_nothing_is_unknown_the_trimap_is_the_matte():
    for method in ("exact", "network", "polish"):
        found = energynets.matte(IMAGE, MASK, method=method)
        np.testing.assert_array_equal(found.alpha, MASK / 255)
        assert found.converged and found.residual == 0 and found.steps == 0


def test_a_trimap_that_lacks_a_side_is_refused_and_says_which():
    with pytest.raises(energynets.BadInputError, match=r"trimap: .*got no foreground"):
        energynets.matte(IMAGE, np.minimum(TRIMAP, 128))
    with pytest.raises(energynets.BadInputError, match=r"trimap: .*got no background"):
        energynets.matte(IMAGE, np.maximum(TRIMAP, 128))


@pytest.mark.parametrize("method", ["exact", "polish"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_pictures_of_one_colour_have_a_matte(method, value):
    found = energynets.matte(np.full((40, 40, 3), value), TRIMAP, method=method)
    assert np.isfinite(found.alpha).all() and 0 <= found.alpha.min() <= found.alpha.max() <= 1
    assert found.alpha[TRIMAP == 255].mean() > found.alpha[TRIMAP == 0].mean() + 0.5


def test_the_smallest_pictures_have_a_matte():
    # Smaller than a window: nothing says what is unknown.
    found = energynets.matte(np.zeros((1, 3, 3)), np.array([[0, 128, 255]], np.uint8))
    assert found.alpha[0, 0] == 0 and found.alpha[0, 2] == 1 and np.isfinite(found.alpha).all()


@pytest.mark.parametrize("more", [{"epsilon": 0.0}, {"seed_weight": -1.0}, {"epsilon": np.nan}])
def test_weights_that_make_no_sense_are_refused(more):
    with pytest.raises(energynets.BadInputError, match="wanted a number from 1e-12"):
        energynets.matte(IMAGE, TRIMAP, **more)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import skimage.data
import skimage.transform

from energynets.seeded import Seeded
from energynets.solvers import matting, multigrid, random_walker, stencil
from energynets.solvers.iterative import conjugate_gradients
from energynets.solvers.stencil import Stencil


def photograph(height, width):
    return skimage.transform.resize(skimage.data.astronaut()[:300], (height, width))


def example(height, width, dtype="float64"):
    seeds = np.zeros((height, width, 2))
    seeds[height // 4, : width // 2 + 1, 0] = 1
    seeds[3 * height // 4, width // 2 :, 1] = 1
    seeds[..., 0] = np.where(seeds[..., 1] == 1, 0, seeds[..., 0])
    return Seeded(jnp.asarray(photograph(height, width), dtype), jnp.asarray(seeds, dtype))


def sparse(matrix: Stencil):
    """The same matrix in SciPy, entry by entry."""
    height, width = matrix.ground.shape
    index = np.arange(height * width).reshape(height, width)
    weights, first, second = [], [], []
    planes = np.asarray(matrix.edges, np.float64)
    for plane, (down, right) in zip(planes, stencil.offsets(matrix.radius), strict=True):
        for i, j in np.ndindex(height, width):
            if i + down < height and 0 <= j + right < width:
                weights.append(plane[i, j])
                first.append(index[i, j])
                second.append(index[i + down, j + right])
    pairs = scipy.sparse.coo_array((weights, (first, second)), shape=(index.size, index.size))
    pairs = pairs + pairs.T
    diagonal = np.asarray(matrix.ground, np.float64).ravel() + pairs.sum(1)
    return (scipy.sparse.diags_array(diagonal) - pairs).tocsc()


def walker(height, width, dtype="float64", beta=1000.0):
    inputs = example(height, width, dtype)
    return random_walker.stencil(inputs, beta=beta), None, inputs


def matte(height, width, dtype="float64", epsilon=1e-5):
    inputs = example(height, width, dtype)
    ones = jnp.ones((1, height, width), dtype)
    spanned = jnp.concatenate([ones, jnp.moveaxis(inputs.image, -1, 0)])
    return matting.stencil(inputs, epsilon=epsilon), spanned, inputs


@jax.jit
def solve(matrix, spanned, rhs, tol):
    return conjugate_gradients(
        lambda u: stencil.apply(matrix, u),
        rhs,
        precondition=multigrid.preconditioner(matrix, spanned),
        diagonal=stencil.diagonal(matrix),
        tol=tol,
        max_steps=200,
    )


@pytest.mark.parametrize("problem", [walker, matte])
def test_the_preconditioner_is_linear_symmetric_and_positive_definite(problem):
    height, width = (29, 23)  # more pixels than are solved at once, and both prime
    with jax.enable_x64(True):
        matrix, spanned, _ = problem(height, width)
        basis = jnp.eye(height * width).reshape(height, width, -1)
        whole = jax.jit(lambda m, s, u: multigrid.preconditioner(m, s)(u))(matrix, spanned, basis)
        whole = np.asarray(whole).reshape(height * width, -1)
        np.testing.assert_allclose(whole, whole.T, atol=1e-12 * np.abs(whole).max())
        assert np.linalg.eigvalsh((whole + whole.T) / 2)[0] > 0
        # Near the inverse: B A has its eigenvalues around 1, whatever the condition of A.
        root = np.linalg.cholesky(sparse(matrix).toarray())
        values = np.linalg.eigvalsh(root.T @ whole @ root)
        assert values[0] > 0.02
        assert values[-1] < 1.6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("problem", [walker, matte])
def test_the_solution_is_scipys(problem, dtype):
    with jax.enable_x64(dtype == "float64"):
        matrix, spanned, inputs = problem(29, 23, dtype)
        result = solve(matrix, spanned, inputs.seeds, 1e-10 if dtype == "float64" else 1e-5)
        assert result.converged.all()
        assert result.steps.max() <= 40
        expected = scipy.sparse.linalg.spsolve(sparse(matrix), np.reshape(inputs.seeds, (-1, 2)))
    # In float32 the matrix itself is given to 1e-7 only, and its condition is above 1e5.
    atol = 1e-9 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(result.value, expected.reshape(29, 23, 2), atol=atol)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2), (3, 5), (7, 97)])
def test_small_and_narrow_pictures_are_solved(shape):
    with jax.enable_x64(True):
        matrix, spanned, inputs = walker(*shape, beta=30.0)
        result = solve(matrix, spanned, inputs.seeds, 1e-10)
        assert result.converged.all()
        expected = scipy.sparse.linalg.spsolve(sparse(matrix), np.reshape(inputs.seeds, (-1, 2)))
        np.testing.assert_allclose(result.value, expected.reshape(*shape, 2), atol=1e-8)


def test_a_flat_picture_is_solved_by_either():
    with jax.enable_x64(True):
        matrix, spanned, inputs = matte(29, 23)
        flat = inputs._replace(image=jnp.full_like(inputs.image, 0.5))
        spanned = spanned.at[1:].set(0.5)
        for matrix, given in (
            (matting.stencil(flat), spanned),
            (random_walker.stencil(flat), None),
        ):
            result = solve(matrix, given, flat.seeds, 1e-8)
            assert result.converged.all()
            expected = scipy.sparse.linalg.spsolve(sparse(matrix), np.reshape(flat.seeds, (-1, 2)))
            np.testing.assert_allclose(result.value, expected.reshape(29, 23, 2), atol=1e-6)


def test_diagonal_neighbours_count_as_ways_around_their_corner():
    rng = np.random.default_rng(0)
    height, width = 29, 23
    with jax.enable_x64(True):
        edges = rng.random((4, height, width))
        edges[:, :, -1], edges[1:, -1], edges[1, :, 0], edges[2, :-1, -1] = 0, 0, 0, 1
        edges[[1, 3], :, -1] = 0
        edges[1, :-1, -1] = 0.5
        matrix = Stencil(jnp.zeros((height, width)).at[3, 4].set(1), jnp.asarray(edges))
        rhs = jnp.zeros((height, width)).at[20, 10].set(1.0)
        result = solve(matrix, None, rhs, 1e-9)
        assert result.converged
        assert result.steps < 60
        expected = scipy.sparse.linalg.spsolve(sparse(matrix), np.asarray(rhs).ravel())
        np.testing.assert_allclose(result.value.ravel(), expected, atol=1e-7)


def test_a_batch_by_vmap_is_the_loop():
    with jax.enable_x64(True):
        problems = [walker(19, 17, beta=beta) for beta in (10.0, 1000.0)]
        matrices = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(p[0] for p in problems))
        seeds = problems[0][2].seeds
        together = jax.vmap(lambda m: solve(m, None, seeds, 1e-10))(matrices)
        for i, (matrix, _, _) in enumerate(problems):
            alone = solve(matrix, None, seeds, 1e-10)
            np.testing.assert_allclose(together.value[i], alone.value, atol=1e-9)


def test_without_fields_a_wide_stencil_is_refused():
    with pytest.raises(ValueError, match="must have radius 1, got radius 2"):
        multigrid.preconditioner(Stencil(jnp.ones((4, 4)), jnp.zeros((12, 4, 4))))

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import skimage.data
import skimage.transform

from energynets.energies.random_walker import energy
from energynets.ops import block_tridiagonal
from energynets.seeded import Seeded
from energynets.solvers import nested_dissection
from energynets.solvers.random_walker import solve, stencil
from energynets.solvers.stencil import apply

# One shape for most tests, so that little is compiled: wide, and no multiple of anything.
SHAPE = (11, 23)


def texture(height, width):
    photograph = skimage.data.astronaut() / 255
    return skimage.transform.resize(photograph[:256], (height, width), anti_aliasing=True)


def strokes(height, width, labels=3):
    """A stroke of label 0, one of label 1, and no seeds of the others."""
    seeds = np.zeros((height, width, labels))
    seeds[height // 4, : width // 2, 0] = 1
    seeds[3 * height // 4, width // 2 :, 1] = 1
    return seeds


def example(dtype, height=SHAPE[0], width=SHAPE[1]):
    leaves = texture(height, width), strokes(height, width)
    return Seeded(*(jnp.asarray(leaf, dtype) for leaf in leaves))


def reference(inputs, *, beta, seed_weight=1.0, floor=1e-6):
    """(L + λQ)⁻¹ λQX by SuperLU, refined with residuals in extended precision."""
    height, width, labels = inputs.seeds.shape
    index = np.arange(height * width).reshape(height, width)
    first = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
    second = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
    colour = np.asarray(inputs.image, np.float64).reshape(height * width, -1)
    weight = np.exp(-beta * ((colour[first] - colour[second]) ** 2).sum(-1)) + floor
    x = np.asarray(inputs.seeds, np.float64).reshape(-1, labels)
    known = seed_weight * x.any(-1, keepdims=True)
    pairs = scipy.sparse.coo_array(
        (np.r_[weight, weight], (np.r_[first, second], np.r_[second, first])),
        shape=(height * width,) * 2,
    ).tocsr()
    diagonal = np.asarray(pairs.sum(1)).ravel() + known[:, 0]
    lu = scipy.sparse.linalg.splu((scipy.sparse.diags_array(diagonal) - pairs).tocsc())
    y = np.zeros_like(x, np.longdouble)
    for _ in range(3):
        flow = weight[:, None] * (y[second] - y[first])
        residual = known * (x - y)
        np.add.at(residual, first, flow)
        np.subtract.at(residual, second, flow)
        y += lu.solve(residual.astype(np.float64))
    return y.reshape(height, width, labels).astype(np.float64)


@pytest.mark.parametrize("beta", [100.0, 1000.0])
def test_the_solution_is_that_of_superlu(beta):
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        solution = solve(inputs, beta=beta)
        expected = reference(inputs, beta=beta)
    assert solution.value.dtype == jnp.float64
    assert solution.converged
    # It stops at a tolerance of 4e-11, each correction being some thousand times the next one.
    assert solution.residual < 1e-12
    # The elimination has no cancellation, so the condition number (about 1e7) does not enter.
    np.testing.assert_allclose(solution.value, expected, atol=1e-12)


@pytest.mark.parametrize("beta", [100.0, 1000.0])
def test_float32_is_right_to_some_roundings(beta):
    inputs = example(jnp.float32)
    solution = solve(inputs, beta=beta)
    assert solution.value.dtype == jnp.float32
    assert solution.converged
    assert solution.residual < 1e-6
    # Of the picture in float32; the weights carry the rounding of beta |ΔI|².
    np.testing.assert_allclose(solution.value, reference(inputs, beta=beta), atol=1e-5)


@pytest.mark.parametrize("floor", [1e-6, 1e-9])
def test_float32_keeps_regions_that_hang_on_the_floor(floor):
    # Stripes one pixel high: each row hangs on edges of weight `floor`, next to edges of weight 1.
    height, width = SHAPE
    image = np.zeros((height, width, 3))
    image[::2] = 1
    inputs = Seeded(jnp.asarray(image, jnp.float32), example(jnp.float32).seeds)
    value = solve(inputs, floor=floor).value
    np.testing.assert_allclose(value, reference(inputs, beta=1000.0, floor=floor), atol=1e-4)


@pytest.mark.parametrize("tol", [None, 1e-7])
def test_a_picture_of_prime_sides_is_cut_and_solved(tol):
    # 17·19 pixels are more than one block: tiles, merges and separators take part.
    with jax.enable_x64(True):
        inputs = example(jnp.float64, 17, 19)
        solution = solve(inputs, tol=tol)
        assert solution.converged
        atol = 1e-11 if tol is None else tol
        np.testing.assert_allclose(solution.value, reference(inputs, beta=1000.0), atol=atol)


def test_no_small_move_lowers_the_energy():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        value = solve(inputs).value
        lowest = energy(inputs, value)
        for size in (1e-1, 1e-3, 1e-5):
            for _ in range(5):
                assert energy(inputs, value + size * rng.normal(size=value.shape)) > lowest


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_probabilities_and_a_label_without_seeds_is_zero(dtype):
    with jax.enable_x64(dtype == "float64"):
        value = solve(example(dtype)).value
        assert value.min() >= 0
        assert value.max() <= 1
        np.testing.assert_allclose(value.sum(-1), 1, atol=4 * jnp.finfo(dtype).eps)
        assert jnp.all(value[..., 2] == 0)


def test_turning_the_picture_turns_the_solution():
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        turned = solve(jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), inputs))
        np.testing.assert_allclose(turned.value.swapaxes(0, 1), solve(inputs).value, atol=1e-12)


def test_a_batch_by_vmap_is_the_loop():
    inputs = example(jnp.float32)
    factors = jnp.linspace(0.4, 1, 4)
    batch = jax.vmap(lambda factor: Seeded(inputs.image * factor, inputs.seeds))(factors)
    together = jax.jit(jax.vmap(solve))(batch)
    for i in range(4):
        alone = solve(jax.tree.map(lambda leaf, i=i: leaf[i], batch))
        np.testing.assert_allclose(together.value[i], alone.value, atol=1e-6)
        assert together.converged[i] == alone.converged


ARGUMENTS = ("image", "seeds", "beta", "seed_weight", "floor")


def score(weights, image, seeds, beta, seed_weight, floor):
    solution = solve(Seeded(image, seeds), beta=beta, seed_weight=seed_weight, floor=floor)
    return (weights * solution.value).sum()


@pytest.fixture(scope="module")
def derivatives():
    """Arguments, a direction for each, and the derivatives of a random linear score."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        inputs = example(jnp.float64, 6, 8)
        weights = jnp.asarray(rng.normal(size=inputs.seeds.shape))
        # Soft seeds, none of them 0, so that a step in any direction leaves a problem.
        seeds = 0.8 * inputs.seeds + 0.2 * jnp.asarray(rng.random(inputs.seeds.shape))
        point = (inputs.image, seeds, *jnp.asarray([50.0, 2.0, 0.01]))
        directions = [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in point]
        compiled = jax.jit(score)
        tangent = jax.jit(lambda t: jax.jvp(lambda *at: score(weights, *at), point, t)[1])
        cotangents = jax.jit(jax.grad(score, argnums=(1, 2, 3, 4, 5)))(weights, *point)
    return point, directions, lambda *at: compiled(weights, *at), tangent, cotangents


@pytest.mark.parametrize("which", range(5), ids=ARGUMENTS)
def test_derivatives_agree_with_finite_differences_both_ways(derivatives, which):
    point, directions, function, tangent, cotangents = derivatives
    with jax.enable_x64(True):
        step = 1e-5 if which < 4 else 1e-7

        def at(t):
            return function(*(p + (i == which) * t * directions[i] for i, p in enumerate(point)))

        expected = (at(step) - at(-step)) / (2 * step)
        only = tuple((i == which) * d for i, d in enumerate(directions))
        # Central differences: step² times the third derivative, and 1e-16 / step.
        np.testing.assert_allclose(tangent(only), expected, rtol=1e-5, atol=1e-8)
        backward = (cotangents[which] * directions[which]).sum()
        np.testing.assert_allclose(backward, tangent(only), rtol=1e-9)


def test_the_derivative_in_the_seeds_is_right_where_a_label_has_none():
    with jax.enable_x64(True):
        image, seeds = example(jnp.float64, 6, 8)
        weights = jnp.asarray(np.random.default_rng(3).normal(size=seeds.shape))
        compiled = jax.jit(lambda x: score(weights, image, x, 50.0, 2.0, 0.01))
        slope = jax.grad(compiled)(seeds)
        labelled = tuple(np.argwhere(np.asarray(seeds) > 0)[0])
        for place, below in ((labelled, -1e-5), ((0, 7, 0), 0.0)):
            ends = [compiled(seeds.at[place].add(t)) for t in (below, 1e-5)]
            expected = (ends[1] - ends[0]) / (1e-5 - below)
            np.testing.assert_allclose(slope[place], expected, rtol=1e-3)


def test_seeds_of_several_labels_are_weights():
    with jax.enable_x64(True):
        image = jnp.asarray(texture(5, 6))
        seeds = np.zeros((5, 6, 3))
        seeds[1, 1], seeds[3, 4] = (1, 1, 0), (0, 0, 0.5)
        inputs = Seeded(image, jnp.asarray(seeds))
        solution = solve(inputs, beta=5.0)
        matrix = stencil(inputs, beta=5.0)
        left = apply(matrix, solution.value) - seeds
        lowest = energy(inputs, solution.value, beta=5.0)
        moved = solution.value + 1e-3 * np.random.default_rng(0).normal(size=seeds.shape)
        assert solution.converged
        assert energy(inputs, moved, beta=5.0) > lowest
    np.testing.assert_allclose(left, 0, atol=1e-10)
    np.testing.assert_allclose(solution.value.sum(-1), 1, rtol=1e-12)


def test_the_second_derivative_agrees_with_finite_differences(derivatives):
    point, _, _, _, _ = derivatives
    with jax.enable_x64(True):
        weights = jnp.arange(point[1].size, dtype=jnp.float64).reshape(point[1].shape)

        def first(beta):
            return jax.grad(lambda b: score(weights, *point[:2], b, 2.0, 0.01))(beta)

        first = jax.jit(first)
        expected = (first(50.01) - first(49.99)) / 0.02
        np.testing.assert_allclose(jax.grad(first)(50.0), expected, rtol=1e-6)


def test_a_tiny_cotangent_gives_a_finite_gradient_in_proportion_in_float32():
    inputs = example(jnp.float32)
    cotangent = jnp.asarray(np.random.default_rng(1).random(inputs.seeds.shape), jnp.float32)

    @jax.jit
    def gradient(scale):
        return jax.grad(lambda given: (solve(given).value * cotangent * scale).sum())(inputs)

    plain = gradient(1.0)
    for scale in (1e-30, 1e-44, 0.0):
        tiny = gradient(scale)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tiny))
        if scale == 1e-30:
            size = jnp.abs(plain.image).max()
            np.testing.assert_allclose(tiny.image * 1e30, plain.image, atol=1e-5 * size)


def test_float32_gradients_are_those_of_float64():
    cotangent = np.random.default_rng(2).normal(size=(*SHAPE, 3))

    def gradient(dtype):
        given = jnp.asarray(cotangent, dtype)
        return jax.grad(lambda inputs: (solve(inputs).value * given).sum())(example(dtype)).image

    single = gradient(jnp.float32)
    with jax.enable_x64(True):
        double = gradient(jnp.float64)
    np.testing.assert_allclose(single, double, atol=1e-4 * np.abs(double).max())


def test_a_tolerance_that_rounding_forbids_is_reported_as_not_met():
    inputs = example(jnp.float32)
    strict = solve(inputs, tol=0.0)
    assert not strict.converged
    assert strict.residual > 0
    np.testing.assert_allclose(strict.value, solve(inputs).value, atol=1e-5)


def test_a_solution_that_float32_cannot_confirm_is_not_called_converged():
    # Regions that hang on edges of 1e-12 could move as a whole without any residual in float32.
    solution = solve(example(jnp.float32), floor=1e-12)
    assert not solution.converged
    assert solution.residual < 1e-6
    with jax.enable_x64(True):
        assert not solve(example(jnp.float64), floor=1e-12).converged
        exact = solve(example(jnp.float64), floor=1e-12, again=True)
        assert exact.converged
    np.testing.assert_allclose(solution.value, exact.value, atol=1e-4)


def test_a_picture_that_is_not_finite_gives_probabilities_that_are_not_converged():
    inputs = example(jnp.float32)
    solution = solve(inputs._replace(image=inputs.image.at[0, 0, 0].set(jnp.nan)))
    assert not solution.converged
    assert not jnp.isnan(solution.residual)
    np.testing.assert_allclose(solution.value.sum(-1), 1, rtol=1e-6)


def test_seeds_or_a_start_that_are_not_finite_leave_no_nan():
    inputs = example(jnp.float32)
    broken = solve(inputs._replace(seeds=inputs.seeds.at[4, 4].set(jnp.nan)))
    assert not broken.converged
    assert jnp.isinf(broken.residual)
    assert jnp.isfinite(broken.value).all()
    begun = solve(inputs, start=jnp.full_like(inputs.seeds, jnp.nan))
    assert begun.converged
    np.testing.assert_allclose(begun.value, solve(inputs).value, atol=1e-6)


def test_probabilities_that_seeds_hardly_tell_apart_converge():
    # Everywhere 1/K but for little: corrections count against 1, not against what differs.
    image = jnp.zeros((13, 15, 3))
    seeds = jnp.zeros((13, 15, 3)).at[jnp.array([1, 6, 11]), 7, jnp.arange(3)].set(1)
    assert solve(Seeded(image, seeds), seed_weight=1e-7).converged


@pytest.mark.parametrize("seed_weight", [0.0, 1.0])
def test_without_seeds_every_label_is_as_likely(seed_weight):
    inputs = example(jnp.float32)
    if seed_weight:
        inputs = inputs._replace(seeds=jnp.zeros_like(inputs.seeds))
    solution = solve(inputs, seed_weight=seed_weight)
    assert solution.converged
    np.testing.assert_allclose(solution.value, 1 / 3, rtol=1e-6)
    gradient = jax.grad(lambda i: jnp.square(solve(i, seed_weight=seed_weight).value).sum())(inputs)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_an_isolated_pixel_follows_its_neighbours():
    image = jnp.zeros((5, 5, 3)).at[2, 2].set(1)
    seeds = jnp.zeros((5, 5, 2)).at[0, 0, 0].set(1)
    solution = solve(Seeded(image, seeds))
    assert solution.converged
    np.testing.assert_allclose(solution.value[..., 0], 1, atol=1e-6)


def test_a_pixel_cut_off_for_want_of_a_floor_is_as_likely_of_every_label():
    image = jnp.zeros((5, 5, 3)).at[2, 2].set(1)
    seeds = jnp.zeros((5, 5, 2)).at[0, 0, 0].set(1)
    value, gradient = jax.value_and_grad(
        lambda i: solve(Seeded(i, seeds), floor=0.0).value[2, 2, 0]
    )(image)
    assert value == 0.5
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2), (3, 5)])
def test_small_and_narrow_pictures_are_solved(shape):
    with jax.enable_x64(True):
        image = jnp.asarray(np.random.default_rng(4).random((*shape, 2)))
        seeds = jnp.zeros((*shape, 2)).at[-1, -1, 1].set(1).at[0, 0].set(jnp.asarray([1.0, 0.0]))
        inputs = Seeded(image, seeds)
        solution = solve(inputs, beta=5.0)
        assert solution.converged
        np.testing.assert_allclose(solution.value, reference(inputs, beta=5.0), atol=1e-12)


def test_an_integer_picture_is_computed_in_float32():
    inputs = Seeded(
        jnp.ones((3, 5, 2), jnp.int32), jnp.zeros((3, 5, 2), jnp.int32).at[0, 0, 0].set(1)
    )
    assert solve(inputs).value.dtype == jnp.float32


def test_changing_the_weights_does_not_recompile():
    inputs = example(jnp.float32)
    solve(inputs, beta=100.0)
    compiled = solve._cache_size()
    solve(inputs, beta=900.0)
    assert solve._cache_size() == compiled


def test_grids_that_differ_are_refused():
    with pytest.raises(ValueError, match="must lie on the same grid, got"):
        solve(Seeded(jnp.ones((4, 5, 3)), jnp.ones((5, 4, 2))))
    with pytest.raises(ValueError, match="start must be H×W×K like the seeds, got"):
        solve(Seeded(jnp.ones((4, 5, 3)), jnp.ones((4, 5, 2))), start=jnp.ones((4, 5, 1)))


@pytest.mark.parametrize("size", [1, 32, 33, 67])
def test_the_inverse_of_conductances_is_numpys(size):
    rng = np.random.default_rng(size)
    edges = np.triu(rng.random((size, size)), 1)
    edges += edges.T
    ground = rng.random(size)
    with jax.enable_x64(True):
        ours = block_tridiagonal.inverse(jnp.asarray(edges), jnp.asarray(ground))
    expected = np.linalg.inv(np.diag(edges.sum(1) + ground) - edges)
    np.testing.assert_allclose(ours, expected, rtol=1e-11)


@pytest.mark.parametrize("shape", [SHAPE, (1, 5), (4, 1)])
def test_the_stencil_is_half_the_second_derivative_of_the_energy(shape):
    with jax.enable_x64(True):
        inputs = example(jnp.float64, *shape)
        weights = {"beta": 50.0, "seed_weight": 3.0, "floor": 1e-3}
        u = jnp.asarray(np.random.default_rng(0).normal(size=inputs.seeds.shape))
        gradient = jax.grad(lambda y: energy(inputs, y, **weights))
        product = jax.jvp(gradient, (jnp.zeros_like(u),), (u,))[1] / 2
        np.testing.assert_allclose(apply(stencil(inputs, **weights), u), product, atol=1e-12)


def test_a_stroke_more_takes_a_few_steps_with_the_old_factor():
    inputs = Seeded(jnp.zeros((*SHAPE, 3)), example(jnp.float32).seeds)
    before = solve(inputs)
    old = nested_dissection.factor(stencil(inputs))
    painted = inputs._replace(seeds=inputs.seeds.at[5, 8:11, 2].set(1))
    solution = solve(painted, factor=old, start=before.value)
    assert solution.converged
    assert solution.steps <= 12
    np.testing.assert_allclose(solution.value, solve(painted).value, atol=1e-5)


def test_a_kept_factor_takes_strokes_in_turn():
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        kept, solution = nested_dissection.keep(stencil(inputs)), solve(inputs)
        for row in (5, 2, 9):
            inputs = inputs._replace(seeds=inputs.seeds.at[row, 3:6].set(jnp.eye(3)[row % 3]))
            kept = nested_dissection.update(kept, stencil(inputs))
            solution = solve(inputs, factor=kept, start=solution.value)
            anew = solve(inputs)
            assert solution.converged
            assert solution.steps <= anew.steps + 1
            np.testing.assert_allclose(solution.value, anew.value, atol=1e-9)


def test_a_factor_that_does_not_do_gives_way_to_a_new_one():
    # Rows are held by the floor alone, and the factor is of a picture in which they are one.
    rows = np.zeros((*SHAPE, 3))
    rows[::2] = 1
    inputs = Seeded(jnp.asarray(rows, jnp.float32), example(jnp.float32).seeds)
    other = nested_dissection.factor(stencil(inputs._replace(image=jnp.zeros((*SHAPE, 3)))))
    solution = solve(inputs, factor=other)
    assert solution.converged
    np.testing.assert_allclose(solution.value, solve(inputs).value, atol=1e-4)


def test_a_warm_start_takes_fewer_steps_to_the_same_solution():
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        solution = solve(inputs)
        again = solve(inputs, start=solution.value)
        assert again.steps < solution.steps
        np.testing.assert_allclose(again.value, solution.value, atol=1e-12)

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

from energynets.solvers import nested_dissection, tiles
from energynets.solvers.nested_dissection import factor, keep, substitute, update
from energynets.solvers.stencil import Stencil, apply, offsets


def conductors(height, width, radius, seed=0, lowest=-3.0):
    """Conductances between 10^lowest and 1, and SciPy's matrix of them."""
    rng = np.random.default_rng(seed)
    ground = 10 ** rng.uniform(lowest, 0, (height, width)) * (rng.random((height, width)) < 0.3)
    ground[-1, -1] = 1
    edges = np.zeros((len(offsets(radius)), height, width))
    number = np.arange(height * width).reshape(height, width)
    first, second, values = [], [], []
    for plane, (down, right) in zip(edges, offsets(radius), strict=True):
        if down < height and abs(right) < width:
            here = slice(0, height - down), slice(max(0, -right), width - max(0, right))
            plane[here] = 10 ** rng.uniform(lowest, 0, plane[here].shape)
            first.append(number[here].ravel())
            second.append((number[here] + down * width + right).ravel())
            values.append(plane[here].ravel())
    if values:
        first, second, values = map(np.concatenate, (first, second, values))
    pairs = scipy.sparse.coo_array(
        (np.r_[values, values], (np.r_[first, second], np.r_[second, first])),
        shape=(number.size,) * 2,
    ).tocsr()
    diagonal = np.asarray(pairs.sum(1)).ravel() + ground.ravel()
    matrix = (scipy.sparse.diags_array(diagonal) - pairs).tocsc()
    return Stencil(jnp.asarray(ground), jnp.asarray(edges)), matrix


@pytest.fixture
def dissected(monkeypatch):
    """Small pictures are cut as well."""
    monkeypatch.setattr(nested_dissection, "_WHOLE", 0)


# Chosen for the cuts they take: none, one direction, short tiles, three levels.
CASES = [
    (1, 1, 1),
    (2, 2, 1),
    (1, 23, 1),
    (13, 3, 1),
    (17, 19, 1),
    (2, 2, 2),
    (9, 17, 2),
    (1, 31, 2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_solution_is_that_of_superlu(dissected, case):
    with jax.enable_x64(True):
        matrix, sparse = conductors(*case)
        rhs = np.random.default_rng(1).normal(size=(*case[:2], 3))
        value = jax.jit(substitute)(jax.jit(factor)(matrix), jnp.asarray(rhs))
    expected = scipy.sparse.linalg.splu(sparse).solve(rhs.reshape(-1, 3)).reshape(rhs.shape)
    # SuperLU's own error, at condition numbers up to some 1e5.
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_rows_merged_by_themselves_give_the_same_factor(monkeypatch):
    matrix, _ = conductors(18, 17, 2)
    together = jax.jit(factor)(matrix)
    monkeypatch.setattr(nested_dissection, "_CACHED", 0)
    apart = jax.jit(lambda given: factor(given))(matrix)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), apart, together)


@pytest.mark.parametrize("case", [(5, 6, 1), (61, 43, 1), (29, 45, 2)], ids=str)
def test_an_updated_factor_is_that_of_the_changed_stencil(monkeypatch, case):
    # Some tiles a chunk, as in a large picture; what these sizes compile to is of this test alone.
    monkeypatch.setattr(tiles, "_CHUNK", 0)
    monkeypatch.setattr(nested_dissection, "_plan", nested_dissection._plan.__wrapped__)
    (matrix, _), other = conductors(*case), conductors(*case, seed=1)[0]
    # In turn: a stroke, the picture's edge with the edges that end there, another corner, nothing.
    painted = matrix._replace(ground=matrix.ground.at[3, 2:5].add(2.0))
    last = painted._replace(edges=painted.edges.at[:, :, -3:].set(other.edges[:, :, -3:]))
    corner = last._replace(ground=last.ground.at[-1, 0].set(0.0))
    made = keep(matrix)
    for changed in (painted, last, corner, corner):
        made = update(made, changed)
        expected = keep(changed)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), made, expected)


def test_an_update_leaves_regions_without_a_change_as_they_are():
    matrix, _ = conductors(40, 41, 1)
    made = keep(matrix)
    # Nothing but the changed stencil's corner is made anew, or else all of it would be finite.
    broken = jax.tree.map(lambda of: of.at[..., -1, -1].set(jnp.nan), made.large[0])
    poisoned = dataclasses.replace(made, large=(broken, *made.large[1:]))
    made = update(poisoned, matrix._replace(ground=matrix.ground.at[0, 0].add(1.0)))
    assert jnp.isnan(made.large[0].reach[-1, -1]).any()


def test_what_differs_by_rounding_is_not_made_anew():
    matrix = jax.tree.map(lambda of: of.astype(jnp.float32), conductors(40, 41, 1)[0])
    rounded = jax.tree.map(lambda of: of * (1 + 3e-7), matrix)
    assert (rounded.edges != matrix.edges).any()
    made = update(keep(matrix), rounded)
    # Nor does it count as the new stencil, lest many such changes add up unseen.
    jax.tree.map(np.testing.assert_array_equal, made, keep(matrix))


def test_an_updated_factor_takes_the_place_of_the_old_one():
    matrix, _ = conductors(20, 18, 1)
    old = keep(matrix)
    update(old, matrix)
    assert old.rows[0].pivot.is_deleted()
    with pytest.raises(ValueError, match="used up by an earlier update"):
        update(old, matrix)


def test_a_factor_that_was_not_kept_and_another_size_are_refused():
    matrix, other = conductors(18, 17, 2)[0], conductors(18, 16, 2)[0]
    made = factor(matrix)
    with pytest.raises(ValueError, match="needs a factor made by keep"):
        update(made, matrix)
    with pytest.raises(ValueError, match=r"\(18, 17\) pixels and radius 2, .* \(18, 16\) and 2"):
        update(made, other)
    with pytest.raises(ValueError, match=r"of \(18, 17\) pixels, the right side \(9, 34\)"):
        substitute(made, jnp.ones((9, 34)))


def test_one_plane_is_one_right_hand_side():
    matrix, _ = conductors(5, 7, 1)
    made = factor(matrix)
    rhs = jnp.asarray(np.random.default_rng(1).normal(size=(5, 7)), jnp.float32)
    np.testing.assert_array_equal(substitute(made, rhs), substitute(made, rhs[..., None])[..., 0])


def test_float32_has_relative_accuracy_whatever_the_condition(dissected):
    # Conductances over nine orders of magnitude: the condition number is far beyond 1 / eps.
    with jax.enable_x64(True):
        matrix, _ = conductors(14, 15, 1, lowest=-9.0)
        single = Stencil(*(leaf.astype(jnp.float32) for leaf in matrix))
        matrix = Stencil(*(leaf.astype(jnp.float64) for leaf in single))
        rhs = jnp.asarray(np.random.default_rng(1).random((14, 15)))
        exact = jax.jit(substitute)(jax.jit(factor)(matrix), rhs)
        value = jax.jit(substitute)(jax.jit(factor)(single), rhs)
    assert value.dtype == jnp.float32
    # Componentwise: some hundred roundings of 6e-8.
    np.testing.assert_allclose(value, exact, rtol=2e-5)


def test_a_batch_by_vmap_is_the_loop(dissected):
    batch = [conductors(9, 6, 1, seed)[0] for seed in range(3)]
    rhs = jnp.asarray(np.random.default_rng(1).random((3, 9, 6)), jnp.float32)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves).astype(jnp.float32), *batch)

    def solve(matrix, rhs):
        return substitute(factor(matrix), rhs)

    together = jax.jit(jax.vmap(solve))(stacked, rhs)
    alone = jax.jit(solve)
    for i in range(3):
        matrix = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
        np.testing.assert_allclose(together[i], alone(matrix, rhs[i]), rtol=1e-5)


def test_conductances_of_either_sign_are_eliminated_if_the_matrix_is_definite(dissected):
    # The square of a Laplacian: its row of second neighbours is negative as a conductance.
    with jax.enable_x64(True):
        _, sparse = conductors(9, 10, 1)
        squared = (sparse @ sparse + scipy.sparse.identity(90)).tocsc()
        dense = squared.toarray().reshape(9, 10, 9, 10)
        edges = np.zeros((12, 9, 10))
        for plane, (down, right) in zip(edges, offsets(2), strict=True):
            for i in range(9 - down):
                for j in range(max(0, -right), 10 - max(0, right)):
                    plane[i, j] = -dense[i, j, i + down, j + right]
        assert edges.min() < 0 < edges.max()
        ground = jnp.asarray(np.asarray(squared.sum(1)).reshape(9, 10))
        matrix = Stencil(ground, jnp.asarray(edges))
        rhs = np.random.default_rng(1).normal(size=(9, 10))
        np.testing.assert_allclose(apply(matrix, rhs).ravel(), squared @ rhs.ravel(), atol=1e-12)
        value = jax.jit(substitute)(jax.jit(factor)(matrix), jnp.asarray(rhs))
    expected = scipy.sparse.linalg.splu(squared).solve(rhs.ravel()).reshape(9, 10)
    np.testing.assert_allclose(value, expected, atol=1e-10)


def test_pixels_that_nothing_holds_do_not_spoil_the_others(dissected):
    matrix, _ = conductors(8, 9, 1)
    # One pixel without any edge, and none to the ground.
    ground = matrix.ground.at[4, 4].set(0).astype(jnp.float32)
    edges = matrix.edges.at[:, 4, 4].set(0).astype(jnp.float32)
    for plane, (down, right) in enumerate(offsets(1)):
        edges = edges.at[plane, 4 - down, 4 - right].set(0)
    rhs = jnp.ones((8, 9)).at[4, 4].set(0)
    value = jax.jit(substitute)(jax.jit(factor)(Stencil(ground, edges)), rhs)
    assert jnp.isfinite(value).all()
    assert value[4, 4] == 0
    np.testing.assert_allclose(apply(Stencil(ground, edges), value), rhs, atol=1e-4)


@pytest.mark.parametrize("case", [(5, 6, 1), (19, 37, 1), (40, 21, 2)], ids=str)
def test_the_numbers_of_a_factor_are_counted_beforehand(case):
    matrix, _ = conductors(*case)
    made = jax.eval_shape(factor, matrix)
    shapes = jax.tree.leaves((made.rows, made.small, made.large, made.whole))
    assert sum(leaf.size for leaf in shapes) == nested_dissection.numbers(case[:2], case[2])


def test_the_same_picture_is_eliminated_in_float32_and_then_in_float64():
    # JAX keeps constant index arrays in the type of their first use.
    matrix, sparse = conductors(22, 26, 1)
    rhs = np.random.default_rng(1).random((22, 26))
    expected = scipy.sparse.linalg.splu(sparse).solve(rhs.ravel()).reshape(rhs.shape)
    single = Stencil(*(jnp.asarray(leaf, jnp.float32) for leaf in matrix))
    run = jax.jit(lambda matrix, rhs: substitute(factor(matrix), rhs))
    first = run(single, jnp.asarray(rhs, jnp.float32))
    with jax.enable_x64(True):
        matrix, _ = conductors(22, 26, 1)
        second = run(matrix, jnp.asarray(rhs))
    np.testing.assert_allclose(first, expected, rtol=1e-3)
    np.testing.assert_allclose(second, expected, rtol=1e-9)

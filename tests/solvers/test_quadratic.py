import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.solvers import iterative, nested_dissection, quadratic
from energynets.solvers.quadratic import minimise, probe
from energynets.solvers.stencil import apply

SHAPE = (9, 11)


def smoothing(noisy, weight):
    """A quadratic energy that the package does not know: first and second differences."""

    def energy(u):
        first = jnp.square(jnp.diff(u, axis=0)).sum() + jnp.square(jnp.diff(u, axis=1)).sum()
        second = jnp.square(jnp.diff(u, 2, axis=0)).sum() + jnp.square(jnp.diff(u, 2, axis=1)).sum()
        return jnp.square(u - noisy).sum() + weight * (first + 0.5 * second)

    return energy


def dense(energy, shape):
    zeros = jnp.zeros(shape)
    hessian = jax.hessian(energy)(zeros).reshape(zeros.size, zeros.size)
    return np.linalg.solve(hessian, -jax.grad(energy)(zeros).ravel()).reshape(shape)


def noise(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape))


def test_an_energy_of_ones_own_is_minimised_from_its_function_and_radius():
    with jax.enable_x64(True):
        energy = smoothing(noise(*SHAPE), 10.0)
        solution = jax.jit(lambda: minimise(energy, jnp.zeros(SHAPE), radius=2))()
        assert solution.converged
        np.testing.assert_allclose(solution.value, dense(energy, SHAPE), atol=1e-10)


def test_an_energy_on_more_pixels_than_one_block_is_minimised():
    shape = (16, 17)
    with jax.enable_x64(True):
        energy = smoothing(noise(*shape), 10.0)
        solution = jax.jit(lambda: minimise(energy, jnp.zeros(shape), radius=2, again=False))()
        assert solution.converged
        np.testing.assert_allclose(solution.value, dense(energy, shape), atol=1e-9)


def test_planes_are_minimised_together():
    with jax.enable_x64(True):
        noisy = noise(*SHAPE, 2)
        together = minimise(smoothing(noisy, 10.0), noisy, radius=2)
        for k in range(2):
            alone = dense(smoothing(noisy[..., k], 10.0), SHAPE)
            np.testing.assert_allclose(together.value[..., k], alone, atol=1e-10)


def test_the_probed_stencil_is_half_the_second_derivative():
    with jax.enable_x64(True):
        energy = smoothing(noise(*SHAPE), 3.0)
        u = noise(*SHAPE)
        matrix = probe(energy, u, radius=2)
        product = jax.jvp(jax.grad(energy), (u,), (u,))[1] / 2
        np.testing.assert_allclose(apply(matrix, u), product, atol=1e-11)


def test_derivatives_follow_from_the_function_alone():
    with jax.enable_x64(True):
        noisy = noise(*SHAPE)

        @jax.jit
        def score(weight):
            value = minimise(smoothing(noisy, weight), noisy, radius=2).value
            return (value * noisy**2).sum()

        expected = (score(2.001) - score(1.999)) / 0.002
        np.testing.assert_allclose(jax.jit(jax.grad(score))(2.0), expected, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(jax.jacfwd(score))(2.0), expected, rtol=1e-6)


def test_starting_at_the_solution_takes_one_step():
    with jax.enable_x64(True):
        noisy = noise(*SHAPE)
        energy = smoothing(noisy, 10.0)
        first = minimise(energy, noisy, radius=2)
        again = minimise(energy, noisy, radius=2, start=first.value)
        assert again.steps == 1 < first.steps
        np.testing.assert_allclose(again.value, first.value, atol=1e-10)


def test_the_factor_of_a_similar_energy_takes_some_more_steps_and_is_as_exact():
    with jax.enable_x64(True):
        noisy = noise(*SHAPE)
        energy = smoothing(noisy, 10.0)
        mask = jnp.zeros(SHAPE).at[4, 2:8].set(5.0)
        factor = nested_dissection.factor(probe(energy, noisy, radius=2))

        def changed(u):
            return energy(u) + (mask * jnp.square(u - 1)).sum()

        solution = minimise(changed, noisy, radius=2, factor=factor)
        assert solution.converged
        assert solution.steps <= 8  # six new pixels: seven eigenvalues that differ
        np.testing.assert_allclose(solution.value, dense(changed, SHAPE), atol=1e-10)


def test_a_factor_that_was_updated_does_as_well_as_a_new_one():
    with jax.enable_x64(True):
        noisy = noise(17, 18)
        energy = smoothing(noisy, 10.0)

        def changed(u):
            return energy(u) + 5.0 * jnp.square(u[4, 2:8] - 1).sum()

        factor = nested_dissection.keep(probe(energy, noisy, radius=2))
        factor = nested_dissection.update(factor, probe(changed, noisy, radius=2))
        expected = minimise(changed, noisy, radius=2)
        solution = minimise(changed, noisy, radius=2, factor=factor)
        assert solution.converged
        assert solution.steps == expected.steps
        np.testing.assert_allclose(solution.value, expected.value, atol=1e-10)


def test_float64_takes_over_where_a_float32_factor_fails():
    with jax.enable_x64(True):
        noisy = noise(*SHAPE)

        def energy(u):
            # Only second differences hold what is linear: float32's rounding exceeds the rest.
            second = jnp.square(jnp.diff(u, 2, axis=0)).sum()
            second += jnp.square(jnp.diff(u, 2, axis=1)).sum()
            return 1e-9 * jnp.square(u - noisy).sum() + second

        single = minimise(energy, noisy, radius=2, again=False)
        solution = minimise(energy, noisy, radius=2)
        assert solution.steps >= single.steps
        assert solution.converged
        np.testing.assert_allclose(solution.value, dense(energy, SHAPE), atol=1e-6)


def test_a_float64_factor_is_made_only_once_a_float32_one_has_failed():
    def loops(again):
        with jax.enable_x64(True):
            problem = jax.jit(
                lambda like: minimise(smoothing(like, 0.1), like, radius=1, again=again)
            )
            text = problem.lower(jnp.zeros((18, 18))).compile().as_text()
        return text[text.index("ENTRY") :].count(" while(")

    # The one that is more holds all of it; XLA moved its elimination, loops and all, before it.
    assert loops(again=True) == loops(again=False) + 1


def test_what_has_no_minimum_in_reach_is_reported():
    # Two steps are too few for a factor that has nothing to do with the energy.
    with jax.enable_x64(True):
        noisy = noise(*SHAPE)
        other = nested_dissection.factor(probe(smoothing(noisy, 0.0), noisy, radius=2))
        solution = minimise(
            smoothing(noisy, 1e4), noisy, radius=2, factor=other, tol=0.0, again=False
        )
        assert not solution.converged
        assert jnp.isfinite(solution.value).all()


def test_a_factor_of_another_size_is_refused():
    # Of one row: it would take the others for more right-hand sides.
    row = nested_dissection.factor(probe(smoothing(noise(1, 12), 1.0), noise(1, 12), radius=2))
    with pytest.raises(ValueError, match=r"factor is of \(1, 12\) pixels .* of \(2, 12\)"):
        minimise(smoothing(noise(2, 12), 1.0), noise(2, 12), radius=2, factor=row)


def test_without_stencil_and_radius_it_is_refused():
    with pytest.raises(ValueError, match="needs the stencil of the energy, or a radius"):
        minimise(lambda u: jnp.square(u).sum(), jnp.ones((2, 2)))


def test_the_method_is_chosen_by_size_and_can_be_forced(monkeypatch):
    def asked(**kwargs):
        monkeypatch.setattr(iterative, "minimise", lambda *args, **kwargs: "iterative")
        monkeypatch.setattr(nested_dissection, "factor", lambda matrix: 1 / 0)
        energy = smoothing(jnp.ones((6, 5)), 1.0)
        try:
            return minimise(energy, jnp.ones((6, 5)), radius=2, **kwargs)
        except ZeroDivisionError:
            return "direct"

    assert asked() == asked(method="direct") == "direct"
    assert asked(method="iterative") == "iterative"
    monkeypatch.setattr(quadratic, "DIRECT_NUMBERS", 899)  # a factor of 30 pixels is 30² numbers
    assert asked() == "iterative"
    with pytest.raises(ValueError, match="method must be auto, direct or iterative, got 'fast'"):
        asked(method="fast")

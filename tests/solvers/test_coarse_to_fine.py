import jax.numpy as jnp
import numpy as np

from energynets.seeded import Seeded
from energynets.solvers import coarse_to_fine


def example(height, width):
    rng = np.random.default_rng(0)
    seeds = np.zeros((height, width, 2))
    seeds[0, 0, 0] = seeds[-1, -1, 1] = 1
    return Seeded(jnp.asarray(rng.random((height, width, 3))), jnp.asarray(seeds))


def test_halving_takes_means_and_keeps_every_seed_at_odd_sizes_too():
    inputs = example(5, 7)
    half = coarse_to_fine.halved(inputs)
    assert half.image.shape == (3, 4, 3)
    np.testing.assert_allclose(half.image[0, 0], inputs.image[:2, :2].mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(half.image[-1, -1], inputs.image[-1, -1], rtol=1e-6)
    expected = np.zeros((3, 4, 2))
    expected[0, 0, 0] = expected[-1, -1, 1] = 1
    np.testing.assert_array_equal(half.seeds, expected)


def test_the_label_with_most_seeds_wins_a_coarse_pixel_alone():
    seeds = jnp.zeros((2, 2, 3)).at[0, :, 2].set(1).at[1, 0, 0].set(1)
    half = coarse_to_fine.halved(Seeded(jnp.zeros((2, 2, 1)), seeds))
    np.testing.assert_array_equal(half.seeds[0, 0], [0, 0, 1])


def test_enlarging_keeps_constants_ramps_and_the_range():
    ramp = jnp.broadcast_to(jnp.arange(4.0)[:, None], (4, 3))
    large = coarse_to_fine.enlarged(ramp, (7, 6))
    assert large.shape == (7, 6)
    np.testing.assert_allclose(np.diff(large[1:, 0]), 0.5, rtol=1e-6)
    assert large.min() == 0
    np.testing.assert_allclose(coarse_to_fine.enlarged(jnp.ones((2, 2)), (3, 4)), 1, rtol=1e-6)


def test_each_size_starts_from_the_one_below_and_the_smallest_from_nothing():
    calls = []

    def minimise(inputs, start):
        calls.append((inputs.image.shape[:2], None if start is None else start.shape))
        return jnp.full(inputs.seeds.shape[:2], len(calls), jnp.float32)

    value = coarse_to_fine.solve(example(21, 16), minimise, enough=30)
    assert calls == [((6, 4), None), ((11, 8), (11, 8)), ((21, 16), (21, 16))]
    assert (value == 3).all()

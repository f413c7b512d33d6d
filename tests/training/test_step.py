import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from energynets.training import sharding
from energynets.training.step import Ahead, State, make_step
from tests.training import tiny
from tests.training.lines import close, config


def after_one_step(experiment, batches, *, clip=0.0, rate=0.1):
    mesh = sharding.make_mesh()
    variables = experiment.init(jax.random.key(1))
    state = State(variables, experiment.transform.init(variables["params"]))
    step = make_step(experiment, clip=clip, mesh=mesh)
    placed = [sharding.put(b, sharding.along(mesh, 0)) for b in batches]
    return step(state, placed, rate, jax.random.key(2))


def batch_of(experiment, rows, step=0):
    return sharding.stack([experiment.example(step, row) for row in rows])


@pytest.mark.parametrize("rows", [(4, 4), (2, 2, 2, 2), (1,) * 8])
def test_micro_batches_give_the_gradient_of_the_whole_batch(rows):
    # Plain descent, so that the step is the gradient; without noise, which each draws anew.
    experiment = tiny.make(config(noise=0.0))._replace(transform=optax.identity())
    whole, values, logs = after_one_step(experiment, [batch_of(experiment, range(8))])
    ends = np.cumsum(rows)
    parts = [batch_of(experiment, range(end - n, end)) for end, n in zip(ends, rows, strict=True)]
    state, micro_values, micro_logs = after_one_step(experiment, parts)
    close(state.variables["params"], whole.variables["params"])
    close(micro_values, values)
    close(micro_logs, logs)
    assert values.shape == (8,) and logs["squares"].shape == (8,)


def test_a_step_is_the_gradient_of_the_mean_loss():
    experiment = tiny.make(config(noise=0.0))._replace(transform=optax.identity())
    batch = batch_of(experiment, range(8))
    state, _, logs = after_one_step(experiment, [batch], rate=0.1)
    before = experiment.init(jax.random.key(1))["params"]
    x, y = batch["x"].astype(np.float64), batch["y"].astype(np.float64)
    error = x @ np.asarray(before["w"]) - y
    gradient = {"w": 2 * x.T @ error / 8, "b": 2 * error.mean(0)}
    expected = {k: np.asarray(before[k]) - 0.1 * gradient[k] for k in gradient}
    close(state.variables["params"], expected)
    norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
    np.testing.assert_allclose(logs["gradient"], norm, rtol=1e-6)


def test_statistics_are_carried_from_micro_batch_to_micro_batch():
    experiment = tiny.make(config())
    parts = [batch_of(experiment, range(4)), batch_of(experiment, range(4, 8))]
    state, _, _ = after_one_step(experiment, parts)
    expected = 0.5 * parts[0]["x"].mean(0) + parts[1]["x"].mean(0)
    np.testing.assert_allclose(state.variables["statistics"]["seen"], expected, rtol=1e-6)


def test_each_micro_batch_draws_its_own_random_numbers():
    experiment = tiny.make(config(noise=1.0))
    experiment = experiment._replace(
        init=lambda key: {
            "params": {"w": jnp.zeros((3, 2)), "b": jnp.ones(2)},
            "statistics": {"seen": jnp.zeros(3)},
        }
    )
    batch = batch_of(experiment, range(4))
    _, values, _ = after_one_step(experiment, [batch, batch])
    assert (values[:4] != values[4:]).all()


def test_the_norm_of_the_gradient_is_limited_by_clip():
    experiment = tiny.make(config(noise=0.0))._replace(transform=optax.identity())
    batch = batch_of(experiment, range(8))
    before = experiment.init(jax.random.key(1))["params"]
    _, _, logs = after_one_step(experiment, [batch], rate=1.0)
    for clip, length in ((0.5, 0.5), (1e6, float(logs["gradient"]))):
        state, _, clipped = after_one_step(experiment, [batch], clip=clip, rate=1.0)
        step = jax.tree.map(lambda a, b: a - b, state.variables["params"], before)
        np.testing.assert_allclose(optax.tree.norm(step), length, rtol=1e-5)
        assert clipped["gradient"] == logs["gradient"]


class Counted:
    """An experiment's examples, counted as they are made; `at(n)` waits until n have been."""

    def __init__(self, experiment):
        self._example, self._changed = experiment.example, threading.Condition()
        self.made = []
        self.experiment = experiment._replace(example=self)

    def __call__(self, step, row):
        example = self._example(step, row)
        with self._changed:
            self.made.append((step, row))
            self._changed.notify_all()
        return example

    def at(self, count):
        with self._changed:
            # The limit is for a loader that hangs; one that works is through in milliseconds.
            assert self._changed.wait_for(lambda: len(self.made) >= count, timeout=60)


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (2, 4), (5, 3)])
def test_while_a_step_computes_the_batches_of_the_next_ones_are_loaded(workers, ahead):
    settings = config(workers=workers, ahead=ahead, steps=12)
    counted = Counted(tiny.make(settings))
    with Ahead(counted.experiment, settings.train, sharding.make_mesh(), 0) as loaded:
        for step in range(12):
            next(loaded)
            # The step computes now and asks for nothing; the next batches are made meanwhile.
            there = min(12, step + ahead + 1)
            counted.at(8 * there)
            # All of them and, since nothing more was asked for, no others: memory is bounded.
            assert sorted(counted.made) == [(s, row) for s in range(there) for row in range(8)]
    assert sorted(counted.made) == [(step, row) for step in range(12) for row in range(8)]


def test_as_many_examples_are_made_at_once_as_there_are_workers():
    settings = config(workers=3)
    together = threading.Barrier(3)  # nobody passes before three are there

    def example(step, row):
        if row < 3:
            together.wait(timeout=60)
        return tiny.make(settings).example(step, row)

    experiment = tiny.make(settings)._replace(example=example)
    with Ahead(experiment, settings.train, sharding.make_mesh(), 11) as loaded:
        assert len([*loaded]) == 1


def test_batches_begin_at_the_step_where_a_run_goes_on():
    settings = config(micro=2, steps=9)
    experiment = tiny.make(settings)
    with Ahead(experiment, settings.train, sharding.make_mesh(), 7) as loaded:
        steps = [*loaded]
    assert len(steps) == 2 and [len(micro) for micro in steps] == [4, 4]
    for step, batches in zip((7, 8), steps, strict=True):
        for number, batch in enumerate(batches):
            expected = batch_of(experiment, (2 * number, 2 * number + 1), step)
            np.testing.assert_array_equal(batch["x"], expected["x"])

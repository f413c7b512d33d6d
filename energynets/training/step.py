"""From examples to a gradient: batches that are loaded before their turn, and the step itself."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from energynets.errors import BadInputError
from energynets.training import sharding
from energynets.training.experiment import Config, Experiment, Loss, Tree, Variables


class State(NamedTuple):
    """All that a step changes."""

    variables: Variables
    optimizer: optax.OptState


class Ahead:
    """Batches from step `start` on, laid out on the mesh, loaded by threads before their turn."""

    def __init__(self, experiment: Experiment, settings: Config, mesh: Mesh, start: int):
        micro = settings.micro or settings.batch
        if settings.batch % micro:
            raise BadInputError(
                f"config.train.micro: wanted a divisor of config.train.batch, {settings.batch}, "
                f"got {micro}"
            )
        self._experiment, self._settings, self._start = experiment, settings, start
        self._micro = micro
        key = "micro" if settings.micro else "batch"
        self._columns = sharding.local_share(mesh, micro, what=f"config.train.{key}")
        self._sharding = sharding.along(mesh, 0)

    def __enter__(self) -> Iterator[list[Tree]]:
        self._pool = ThreadPoolExecutor(self._settings.workers)
        return self._batches()

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _rows(self, step: int) -> list[Future]:
        return [
            self._pool.submit(self._experiment.example, step, first + column)
            for first in range(0, self._settings.batch, self._micro)
            for column in self._columns
        ]

    def _batches(self) -> Iterator[list[Tree]]:
        steps, ahead = range(self._start, self._settings.steps), self._settings.ahead
        waiting = [self._rows(step) for step in steps[:ahead]]
        for step in steps:
            examples = [future.result() for future in waiting.pop(0)]
            if step + ahead < steps.stop:
                waiting.append(self._rows(step + ahead))
            share = len(self._columns)
            yield [
                sharding.put(sharding.stack(examples[first : first + share]), self._sharding)
                for first in range(0, len(examples), share)
            ]


def make_step(experiment: Experiment, *, clip: float, mesh: Mesh) -> Callable:
    """One step: (state, micro-batches, rate, key) to (state, values, logs).

    The gradient is that of the mean over all examples, accumulated over the micro-batches, whose
    updates of batch statistics follow one another; `values` and `logs` have an entry for each
    example. The state given is used up. Two jitted functions, called from Python: inside
    `lax.scan` XLA runs convolutions on a CPU twenty times slower.
    """
    everywhere = sharding.replicated(mesh)

    def objective(params: Tree, rest: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, Loss]:
        loss = experiment.loss({**rest, "params": params}, batch, key)
        return loss.values.mean(), loss

    @partial(jax.jit, donate_argnums=(0, 1), out_shardings=everywhere)
    def accumulate(total: Tree, rest: Tree, params: Tree, batch: Tree, key: jax.Array):
        gradient, loss = jax.grad(objective, has_aux=True)(params, rest, batch, key)
        total = jax.tree.map(jnp.add, total, gradient)
        return total, {**rest, **loss.updates}, loss.values, dict(loss.logs)

    @partial(jax.jit, donate_argnums=(1, 2), out_shardings=everywhere)
    def apply(total: Tree, params: Tree, optimizer: Tree, count: jax.Array, rate: jax.Array):
        gradient = jax.tree.map(lambda g: g / count, total)
        norm = optax.tree.norm(gradient)
        if clip:
            gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip / (norm + 1e-12)), gradient)
        direction, optimizer = experiment.transform.update(gradient, optimizer, params)
        params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
        return params, optimizer, norm

    def step(state: State, batches: list[Tree], rate: float, key: jax.Array):
        params = state.variables["params"]
        rest = {k: v for k, v in state.variables.items() if k != "params"}
        total = jax.tree.map(jnp.zeros_like, params)
        values, logs = [], []
        for number, batch in enumerate(batches):
            total, rest, value, log = accumulate(
                total, rest, params, batch, jax.random.fold_in(key, number)
            )
            values.append(value)
            logs.append(log)
        params, optimizer, norm = apply(
            total, params, state.optimizer, jnp.float32(len(batches)), jnp.float32(rate)
        )
        state = State({**rest, "params": params}, optimizer)
        values = np.concatenate([np.asarray(v) for v in values])
        logs = jax.tree.map(lambda *parts: np.concatenate([np.asarray(p) for p in parts]), *logs)
        return state, values, {**logs, "gradient": np.asarray(norm)}

    return step

"""The training loop, written once: any `Experiment`, any number of devices, exact resume."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from energynets.errors import BadInputError
from energynets.training import checkpoints, schedules, sharding
from energynets.training.claim import claim
from energynets.training.experiment import Config, Evaluation, Experiment, Variables
from energynets.training.journal import Bar, Journal, console, progress_bar
from energynets.training.step import Ahead, State, make_step


def default_config() -> Config:
    """The part of a config that the loop reads, for a task to put at `config.train`."""
    return ConfigDict(
        {
            "seed": 0,
            "steps": 1000,  # 0: no training, only the report
            "batch": 8,  # examples a step
            "micro": 0,  # examples a micro-batch, gradients accumulated; 0: all of the batch
            "epoch": 100,  # steps between two validations
            "rate": 1e-2,
            "schedule": "sign_changes",
            "clip": 0.0,  # greatest norm of the gradient; 0: not limited
            "save_every": 100,  # steps between two checkpoints, beside one after each epoch
            "keep_every": 0,  # epochs between two checkpoints that are never deleted; 0: none
            "log_every": 10,
            "workers": 2,  # threads that load examples
            "ahead": 4,  # batches that are loaded before they are needed
            "eval_batch": 8,
        }
    )


def evaluate(
    experiment: Experiment,
    variables: Variables,
    evaluation: Evaluation,
    mesh: Mesh,
    *,
    batch: int,
    predict: Callable | None = None,
    bar: Bar | None = None,
) -> dict[str, np.ndarray]:
    """The sums of `measure` over the whole of a set, the same on every process."""
    predict = predict or jax.jit(experiment.predict, out_shardings=sharding.replicated(mesh))
    share = sharding.local_share(mesh, batch, what="config.train.eval_batch")
    totals: dict[str, np.ndarray] = {}
    for indices, load in sharding.batches(evaluation.example, evaluation.length, batch, mesh):
        examples = load()
        predictions = predict(variables, sharding.put(examples, sharding.along(mesh, 0)))
        predictions = jax.tree.map(lambda a: np.asarray(a)[share.start : share.stop], predictions)
        for row, index in enumerate(indices):
            if index < 0:
                continue
            example, prediction = jax.tree.map(lambda a, r=row: a[r], (examples, predictions))
            for name, value in experiment.measure(index, example, prediction).items():
                totals[name] = totals.get(name, 0.0) + np.asarray(value, np.float64)
        if bar:
            bar.advance()
    return sharding.sum_over_processes(totals, mesh)


def train(experiment: Experiment, config: Config, workdir: Path) -> Variables:
    """Trains from the latest checkpoint of `workdir`, or from the start, to `config.train.steps`.

    Returns the variables of least validation loss, as NumPy arrays. Stopped at any moment and
    called again, it ends with the same bits: a step depends on the state and its number alone.

    Raises:
        BadInputError: if a setting makes no sense, before anything is written; if `workdir` holds
            a run of another config, if a loss is not finite (the last checkpoint is from before),
            or if a checkpoint cannot be written.
    """
    settings = config.train
    _refuse_senseless(settings)
    mesh = sharding.make_mesh()
    sharding.local_share(mesh, settings.eval_batch, what="config.train.eval_batch")
    schedule = schedules.named(
        settings.schedule, settings.rate, steps=settings.steps, epoch=settings.epoch
    )
    rates, start = schedule.init(), 0
    ahead = partial(Ahead, experiment, settings, mesh)
    ahead(start)  # only to see that the batches can be shared out, before anything is written
    state = _initial_state(experiment, settings.seed, mesh)  # may refuse weights to begin with
    claim(workdir, config)
    manager = checkpoints.open_manager(
        workdir / "checkpoints", keep_every=settings.keep_every * settings.epoch
    )
    latest = manager.latest_step()
    if latest is not None:
        state, rates = checkpoints.restore(manager, latest, state)
        start = latest
        console.print(f"goes on from step {start} of {workdir}", markup=False)
    everywhere = sharding.replicated(mesh)
    step_fn = make_step(experiment, clip=settings.clip, mesh=mesh)
    predict = jax.jit(experiment.predict, out_shardings=everywhere)
    key = jax.random.key(settings.seed)

    def validate(variables: Variables, step: int) -> dict[str, float]:
        sums = evaluate(
            experiment,
            variables,
            experiment.validation,
            mesh,
            batch=settings.eval_batch,
            predict=predict,
        )
        scores = dict(experiment.scores(sums))
        if not np.isfinite(scores["loss"]):
            raise BadInputError(
                f"step {step}: wanted a finite loss over the {experiment.validation.length} "
                f"examples of the validation set, got {scores['loss']}; {_last_good(manager)}"
            )
        return scores

    with (
        closing(manager),
        closing(Journal(workdir, -1 if latest is None else latest)) as journal,
        progress_bar("training", settings.steps, start) as bar,
        ahead(start) as loaded,
    ):
        if latest is None and settings.steps:
            scores = validate(state.variables, 0)
            journal.write(0, {f"validation/{k}": v for k, v in scores.items()})
            checkpoints.save(manager, 0, state, rates, scores)
        note, waited, timed, began = "", 0.0, 0, time.perf_counter()
        for step in range(start, settings.steps):
            asked = time.perf_counter()
            micro_batches = next(loaded)
            waited += time.perf_counter() - asked
            rate = schedule.rate(rates, step)
            state, values, logs = step_fn(state, micro_batches, rate, jax.random.fold_in(key, step))
            _refuse_non_finite(experiment, step, values, logs, manager)
            done, timed = step + 1, timed + 1
            told = ("energy", logs["energy"]) if "energy" in logs else ("loss", values)
            note = f"{told[0]} {np.mean(told[1]):.4g}"
            bar.advance(note=note)
            if done % settings.log_every == 0:
                now = time.perf_counter()
                journal.write(
                    done,
                    {
                        "loss": float(values.mean()),
                        **{name: float(np.mean(value)) for name, value in logs.items()},
                        "rate": rate,
                        "seconds_a_step": (now - began) / timed,
                        "waiting": waited / (now - began),
                    },
                )
                waited, timed, began = 0.0, 0, now
            scores, paused = None, time.perf_counter()
            if done % settings.epoch == 0 or done == settings.steps:
                scores = validate(state.variables, done)
                rates = schedule.update(rates, scores["loss"])
                journal.write(done, {f"validation/{k}": v for k, v in scores.items()})
                told = "  ".join(f"{k} {v:.4g}" for k, v in scores.items())
                console.print(f"step {done} of {settings.steps}: {note}  validation: {told}")
                for sentence in experiment.warnings(done, scores):
                    console.print(f"warning: {sentence}", markup=False)
            if scores or done % settings.save_every == 0:
                _refuse_broken(state, done, manager)
                checkpoints.save(manager, done, state, rates, scores)
            began += time.perf_counter() - paused  # validation and saving are no part of a step
        best = manager.best_step()
        if best is not None:
            state, _ = checkpoints.restore(manager, best, state)
    return jax.tree.map(np.asarray, state.variables)


def _initial_state(experiment: Experiment, seed: int, mesh: Mesh) -> State:
    @partial(jax.jit, out_shardings=sharding.replicated(mesh))
    def init(key: jax.Array) -> State:
        variables = dict(experiment.init(key))
        return State(variables, experiment.transform.init(variables["params"]))

    return init(jax.random.key(seed))


def _refuse_senseless(settings: Config) -> None:
    """Numbers that no run can have, by name."""
    for key in ("batch", "epoch", "save_every", "log_every", "workers", "ahead", "eval_batch"):
        if settings[key] < 1:
            raise BadInputError(f"config.train.{key}: wanted at least 1, got {settings[key]}")
    if settings.seed >= 2**63:
        raise BadInputError(f"config.train.seed: wanted less than 2**63, got {settings.seed}")
    for key in ("seed", "steps", "micro", "rate", "clip", "keep_every"):
        if not 0 <= settings[key] < float("inf"):
            raise BadInputError(f"config.train.{key}: wanted at least 0, got {settings[key]}")


def _last_good(manager: Any) -> str:
    latest = manager.latest_step()
    if latest is None:
        return "there is no checkpoint yet"
    return f"the checkpoint of step {latest} in {manager.directory} is good"


def _refuse_broken(state: State, step: int, manager: Any) -> None:
    """A finite loss can leave weights or batch statistics that are not; they are not kept."""
    if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state.variables)):
        raise BadInputError(
            f"step {step}: wanted finite weights after it, got others; {_last_good(manager)}"
        )


def _refuse_non_finite(
    experiment: Experiment, step: int, values: np.ndarray, logs: Mapping, manager: Any
) -> None:
    """Stops the run before anything of this step is kept."""
    bad = ~np.isfinite(values)
    if not bad.any() and np.isfinite(logs["gradient"]).all():
        return
    what = "a finite loss" if bad.any() else "a finite gradient"
    rows = np.flatnonzero(bad) if bad.any() else range(bad.size)
    names = ", ".join(experiment.name(step, int(row)) for row in rows)
    raise BadInputError(
        f"step {step}: wanted {what}, got {values[rows[0]]} for {names}; {_last_good(manager)}"
    )

import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from energynets.training import checkpoints, loop, sharding
from energynets.training.journal import read_metrics
from tests.training import tiny
from tests.training.lines import close, config, interrupted, same, trained


def test_training_finds_the_line(tmp_path):
    found = trained(tmp_path, steps=400, epoch=400, save_every=400, noise=0.0, rate=0.05)
    np.testing.assert_allclose(found["params"]["w"], tiny.TRUTH, atol=0.02)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))


def test_the_size_of_a_micro_batch_changes_the_result_by_rounding_alone(tmp_path):
    whole = trained(tmp_path / "whole", noise=0.0)
    micro = trained(tmp_path / "micro", noise=0.0, micro=2)
    close(whole["params"], micro["params"], rtol=1e-5)


def test_the_best_variables_come_back_not_the_last(tmp_path):
    settings = config(rate=3.0, schedule="constant", steps=12, epoch=3)
    found = loop.train(tiny.make(settings), settings, tmp_path)
    records = [r for r in read_metrics(tmp_path) if "validation/loss" in r]
    assert [r["step"] for r in records] == [0, 3, 6, 9, 12]
    losses = [r["validation/loss"] for r in records]
    assert min(losses) < losses[-1]
    experiment = tiny.make(settings)
    sums = loop.evaluate(experiment, found, experiment.validation, sharding.make_mesh(), batch=2)
    assert experiment.scores(sums)["loss"] == pytest.approx(min(losses), rel=1e-6)


def test_no_steps_are_the_fresh_variables(tmp_path):
    settings = config(steps=0)
    found = loop.train(tiny.make(settings), settings, tmp_path)
    same(found, dict(tiny.make(settings).init(jax.random.key(settings.train.seed))))
    assert read_metrics(tmp_path) == []


def test_the_order_of_examples_depends_on_the_step_alone(tmp_path):
    def asked_for(workdir, **changed):
        settings = config(**changed)
        experiment, asked, lock = tiny.make(settings), [], threading.Lock()

        def example(step, row):
            with lock:
                asked.append((step, row))
            return experiment.example(step, row)

        return loop.train(experiment._replace(example=example), settings, workdir), asked

    first, one = asked_for(tmp_path / "1", workers=1, ahead=1)
    second, many = asked_for(tmp_path / "2", workers=4, ahead=9)
    assert one == [(step, row) for step in range(12) for row in range(8)]
    assert sorted(many) == one
    same(first, second)


def test_waiting_for_data_is_logged_as_a_share_of_the_time(tmp_path, monkeypatch):
    clock = 0.0

    def tick(seconds):
        nonlocal clock
        clock += seconds

    class Slow(loop.Ahead):
        def _batches(self):
            for batches in super()._batches():
                tick(1.0)
                yield batches

    def make_step(*arguments, **how):
        made = step(*arguments, **how)
        return lambda *inputs: (tick(3.0), made(*inputs))[1]

    step = loop.make_step
    monkeypatch.setattr(loop, "Ahead", Slow)
    monkeypatch.setattr(loop, "make_step", make_step)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock))
    trained(tmp_path, steps=4, log_every=2)
    logged = [(r["waiting"], r["seconds_a_step"]) for r in read_metrics(tmp_path) if "loss" in r]
    assert logged == [(0.25, 4.0)] * 2


def test_the_time_of_a_step_leaves_out_validation_and_saving_also_after_a_cut(
    tmp_path, monkeypatch
):
    clock = 0.0

    def lasting(seconds, function):
        def longer(*arguments, **how):
            nonlocal clock
            clock += seconds
            return function(*arguments, **how)

        return longer

    make_step = loop.make_step
    monkeypatch.setattr(loop, "make_step", lambda *a, **how: lasting(1.0, make_step(*a, **how)))
    monkeypatch.setattr(loop, "evaluate", lasting(100.0, loop.evaluate))
    monkeypatch.setattr(checkpoints, "save", lasting(1000.0, checkpoints.save))
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock))
    settings = config(log_every=3, epoch=2, save_every=1)
    interrupted(settings, tmp_path, 5)
    loop.train(tiny.make(settings), settings, tmp_path)
    times = {r["step"]: r["seconds_a_step"] for r in read_metrics(tmp_path) if "loss" in r}
    assert times == {3: 1.0, 6: 1.0, 9: 1.0, 12: 1.0}  # step 6 is the first after the cut at 5


@pytest.mark.parametrize(("log", "told"), [("energy", "energy 7"), ("squares", "loss 3")])
def test_what_is_shown_is_the_energy_where_the_task_logs_one_or_else_the_loss(
    tmp_path, monkeypatch, log, told
):
    lines = []
    monkeypatch.setattr(loop.console, "print", lines.append)
    settings = config(steps=1)
    experiment = tiny.make(settings)

    def loss(variables, batch, key):
        made = experiment.loss(variables, batch, key)
        flat = made.values * 0
        return made._replace(values=flat + 3, logs={log: flat + 7})

    loop.train(experiment._replace(loss=loss), settings, tmp_path)
    assert [line.split(":")[1].strip().removesuffix("  validation") for line in lines] == [told]


def test_what_is_logged_is_the_mean_over_the_batch(tmp_path):
    trained(tmp_path, steps=3, noise=0.0, schedule="constant")
    records = [r for r in read_metrics(tmp_path) if "loss" in r]
    assert [r["step"] for r in records] == [1, 2, 3]
    for record in records:
        assert record["loss"] == pytest.approx(record["squares"])
        assert record["rate"] == 0.01 and record["seconds_a_step"] > 0


def test_the_rate_follows_the_schedule(tmp_path):
    trained(tmp_path, schedule="exponential", epoch=2, rate=0.5)
    rates = [r["rate"] for r in read_metrics(tmp_path) if "rate" in r]
    assert rates == [0.5] * 6 + [0.5 * 0.96] * 6


def test_checkpoints_are_the_last_two_the_best_and_every_k_epochs(tmp_path):
    trained(tmp_path, epoch=2, keep_every=3, save_every=1, rate=0.0)
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    # All losses are equal: any may be the best, the others are certain.
    assert {0, 6, 11, 12} <= set(kept) and len(kept) <= 5


@pytest.mark.parametrize(("length", "batch"), [(5, 2), (5, 8), (1, 1)])
def test_an_evaluation_counts_each_example_once(length, batch):
    settings = config(validation=length)
    experiment = tiny.make(settings)
    variables = experiment.init(jax.random.key(0))
    sums = loop.evaluate(
        experiment, variables, experiment.validation, sharding.make_mesh(), batch=batch
    )
    examples = [experiment.validation.example(i) for i in range(length)]
    weights = np.asarray(variables["params"]["w"])
    losses = [((e["x"] @ weights - e["y"]) ** 2).sum() for e in examples]
    assert sums["count"] == length
    np.testing.assert_allclose(sums["loss"], sum(losses), rtol=1e-6)


def test_measure_is_given_example_and_prediction_of_the_same_index():
    experiment = tiny.make(config())
    seen = {}

    def measure(index, example, prediction):
        seen[index] = example["x"], prediction["x"]
        return {}

    experiment = experiment._replace(measure=measure, predict=lambda v, batch: {"x": batch["x"]})
    loop.evaluate(experiment, {}, experiment.validation, sharding.make_mesh(), batch=3)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    for index, (x, y) in seen.items():
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(x, experiment.validation.example(index)["x"])


def test_warnings_are_told_after_each_validation_but_not_before_training(tmp_path, capsys):
    settings = config(steps=8, epoch=4)
    seen = []

    def warnings(step, scores):
        seen.append(scores["loss"])
        return [f"the loss at {step} is [{len(seen)}]"]

    loop.train(tiny.make(settings)._replace(warnings=warnings), settings, tmp_path)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert told == ["warning: the loss at 4 is [1]", "warning: the loss at 8 is [2]"]
    logged = [r["validation/loss"] for r in read_metrics(tmp_path) if "validation/loss" in r]
    assert seen == logged[1:]

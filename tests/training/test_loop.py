import json
import random
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.training import checkpoints, loop, sharding
from energynets.training.experiment import Evaluation
from energynets.training.journal import read_metrics
from tests.training import tiny
from tests.training.processes import ROOT, run, start

COMMAND = ("-m", "tests.training.tiny", f"--config={ROOT / 'tests/training/tiny.py'}")


def config(**changed):
    made = tiny.get_config()
    with made.unlocked():
        for key, value in changed.items():
            (made if key in made else made.train)[key] = value
    return made


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def close(first, second, rtol=2e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), first, second)


def trained(workdir, **changed):
    settings = config(**changed)
    return loop.train(tiny.make(settings), settings, workdir)


def scores(workdir):
    return json.loads((workdir / "report.json").read_text())["scores"]


def steady(records):
    """The records without what depends on the clock."""
    clock = ("seconds_a_step", "waiting")
    return [{k: v for k, v in r.items() if k not in clock} for r in records]


class Interrupted(Exception):
    pass


def interrupted(settings, workdir, step):
    """Trains until an example of `step` is asked for, which fails as a dying process would."""
    experiment = tiny.make(settings)

    def example(at, row):
        if at >= step:
            raise Interrupted
        return experiment.example(at, row)

    with pytest.raises(Interrupted):
        loop.train(experiment._replace(example=example), settings, workdir)


def test_training_finds_the_line(tmp_path):
    found = trained(tmp_path, steps=400, epoch=400, save_every=400, noise=0.0, rate=0.05)
    np.testing.assert_allclose(found["params"]["w"], tiny.TRUTH, atol=0.02)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))


def test_the_size_of_a_micro_batch_changes_the_result_by_rounding_alone(tmp_path):
    whole = trained(tmp_path / "whole", noise=0.0)
    micro = trained(tmp_path / "micro", noise=0.0, micro=2)
    close(whole["params"], micro["params"], rtol=1e-5)


@pytest.mark.parametrize(("value", "loss"), [(np.nan, "nan"), (1e30, "inf")])
def test_a_loss_that_is_not_finite_stops_and_names_step_and_picture(tmp_path, value, loss):
    settings = config(poison=(6, 1), save_every=2, noise=0.0)
    experiment = tiny.make(settings)

    def example(step, row):
        made = experiment.example(step, row)
        return {**made, "y": np.where(np.isnan(made["y"]), np.float32(value), made["y"])}

    with pytest.raises(BadInputError) as told:
        loop.train(experiment._replace(example=example), settings, tmp_path)
    assert str(told.value) == (
        f"step 6: wanted a finite loss, got {loss} for point-6-1; the checkpoint of step 6 in "
        f"{tmp_path / 'checkpoints'} is good"
    )
    assert [r["step"] for r in read_metrics(tmp_path)][-1] == 6
    with closing(checkpoints.open_manager(tmp_path / "checkpoints", keep_every=0)) as manager:
        assert manager.latest_step() == 6
        variables = experiment.init(jax.random.key(0))
        like = loop.State(variables, experiment.transform.init(variables["params"]))
        kept, _ = checkpoints.restore(manager, 6, like)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))
    # The same again: nothing of the bad step was kept.
    with pytest.raises(BadInputError, match=r"step 6: .* point-6-1; the checkpoint of step 6"):
        loop.train(experiment._replace(example=example), settings, tmp_path)


def test_every_bad_picture_of_a_batch_is_named_in_micro_batches_too(tmp_path):
    settings = config(micro=2)
    experiment = tiny.make(settings)

    def example(step, row):
        made = experiment.example(step, row)
        return {**made, "y": made["y"] * (np.nan if step == 3 and row in (2, 5) else 1)}

    with pytest.raises(BadInputError, match=r"step 3: .* for point-3-2, point-3-5; the check"):
        loop.train(experiment._replace(example=example), settings, tmp_path)


def test_a_gradient_that_is_not_finite_stops_as_well(tmp_path):
    settings = config()
    experiment = tiny.make(settings)

    def loss(variables, batch, key):
        made = experiment.loss(variables, batch, key)
        zero = variables["params"]["b"].sum() * 0
        return made._replace(values=made.values + jnp.sqrt(zero))  # finite, its slope is not

    with pytest.raises(BadInputError, match=r"step 0: wanted a finite gradient, .* for point-0-0"):
        loop.train(experiment._replace(loss=loss), settings, tmp_path)


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    settings = config()
    experiment = tiny.make(settings)

    def loss(variables, batch, key):
        made = experiment.loss(variables, batch, key)
        return made._replace(updates={"statistics": {"seen": batch["x"].mean(0) / 0}})

    with pytest.raises(BadInputError, match=r"step 1: wanted finite weights .* of step 0 in"):
        loop.train(experiment._replace(loss=loss), settings, tmp_path)


def test_a_validation_loss_that_is_not_finite_stops_as_well(tmp_path):
    settings = config()
    experiment = tiny.make(settings)
    bad = Evaluation(2, lambda index: {"x": np.full(3, np.nan), "y": np.zeros(2)})
    with pytest.raises(
        BadInputError,
        match=r"step 0: .* loss over the 2 examples of the validation set, got nan; there is no",
    ):
        loop.train(experiment._replace(validation=bad), settings, tmp_path)


@pytest.mark.parametrize("save_every", [1, 5])
def test_a_run_cut_at_any_step_ends_with_the_same_bits(tmp_path, save_every):
    settings = config(save_every=save_every, schedule="sign_changes", micro=4)
    whole = loop.train(tiny.make(settings), settings, tmp_path / "whole")
    for cut in (0, 1, 4, 7, 11):
        workdir = tmp_path / f"cut_{cut}"
        interrupted(settings, workdir, cut)
        same(loop.train(tiny.make(settings), settings, workdir), whole)
        assert steady(read_metrics(workdir)) == steady(read_metrics(tmp_path / "whole"))


def test_a_run_cut_many_times_ends_with_the_same_bits(tmp_path):
    settings = config(schedule="sign_changes", rate=0.3)
    whole = loop.train(tiny.make(settings), settings, tmp_path / "whole")
    for cut in (0, 2, 3, 8, 9):
        interrupted(settings, tmp_path / "cut", cut)
    same(loop.train(tiny.make(settings), settings, tmp_path / "cut"), whole)


def test_a_finished_run_is_not_trained_again(tmp_path):
    settings = config()
    whole = loop.train(tiny.make(settings), settings, tmp_path)

    def never(step, row):
        raise AssertionError("an example was asked for")

    experiment = tiny.make(settings)._replace(example=never)
    same(loop.train(experiment, settings, tmp_path), whole)


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


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    def begin(workdir):
        return start(*COMMAND, f"--workdir={workdir}", "--config.train.steps=40", *slow)

    slow = ("--config.nap=0.002", "--config.train.epoch=8")
    process = begin(tmp_path / "whole")
    assert process.wait(200) == 0
    moments = random.Random(7)
    kills = 0
    while kills < 3:
        process = begin(tmp_path / "killed")
        # From the first checkpoint on, so that the moments fall on steps and savings.
        while not (tmp_path / "killed" / "checkpoints").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 1.2))
        process.kill()
        process.communicate()
        kills += 1
    process = begin(tmp_path / "killed")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert scores(tmp_path / "killed") == scores(tmp_path / "whole")
    whole, killed = (steady(read_metrics(tmp_path / name)) for name in ("whole", "killed"))
    assert killed == whole
    left = [p.name for p in (tmp_path / "killed" / "checkpoints").iterdir()]
    assert not [name for name in left if "tmp" in name]


def test_eight_devices_and_two_processes_equal_one(tmp_path):
    settings = ("--config.validation=3",)  # the second process has no picture to validate on
    run(*COMMAND, f"--workdir={tmp_path / 'one'}", *settings)
    run(*COMMAND, f"--workdir={tmp_path / 'eight'}", *settings, devices=8)
    run(
        *("-m", "launch.local", 2, "tests.training.tiny", *COMMAND[2:]),
        f"--workdir={tmp_path / 'two'}",
        *settings,
    )
    # Sums over devices are taken in another order: a few units of the last place a step.
    for name in ("eight", "two"):
        close(scores(tmp_path / name), scores(tmp_path / "one"), rtol=1e-5)
        for record, expected in zip(
            steady(read_metrics(tmp_path / name)),
            steady(read_metrics(tmp_path / "one")),
            strict=True,
        ):
            close(record, expected, rtol=1e-5)
    assert (tmp_path / "two" / "process_1.log").exists()


DEVICES = """
import sys
from pathlib import Path
import jax, numpy as np
from energynets.training import loop, sharding
from energynets.training.journal import read_metrics
from experiments import seeded_seg

config = seeded_seg.get_config("smoke")
config.network.update(eval(sys.argv[2]))
config.train.update({"steps": 6, "epoch": 6, "schedule": "constant", "rate": 1e-3})
experiment, make_mesh = seeded_seg.make(config), sharding.make_mesh
ends = []
for count in (1, 2):
    sharding.make_mesh = lambda: make_mesh(jax.devices()[:count])
    workdir = Path(sys.argv[1]) / str(count)
    variables = loop.train(experiment, config, workdir)
    losses = [r["validation/loss"] for r in read_metrics(workdir) if "validation/loss" in r]
    ends.append((variables, losses))
assert len(losses) == 2 and losses[1] < losses[0], losses  # the variables are not the first ones
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=ATOL), *ends)
""".replace("ATOL", "2e-5")  # a fiftieth of what Adam moves by in a step that is noise alone


@pytest.mark.parametrize(
    "network",
    [
        {"head": "classes", "trunk": "dilated", "norm": "batch", "blocks": 2, "width": 8},
        {"trunk": "propagation", "widths": (8, 8)},
    ],
    ids=lambda network: network["trunk"],
)
def test_networks_end_with_the_same_weights_on_one_device_and_on_two(tmp_path, network):
    run("-c", DEVICES, tmp_path, network, devices=2)


def test_another_config_in_the_same_folder_is_refused_by_its_key(tmp_path):
    trained(tmp_path, steps=1)
    with pytest.raises(BadInputError, match=r"config\.train\.rate was 0\.01, now 0\.02$"):
        trained(tmp_path, steps=1, rate=0.02)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"schedule": "linear"}, r"config\.train\.schedule: wanted sign_changes.* got 'linear'"),
        ({"micro": 3}, r"config\.train\.micro: wanted a divisor of config\.train\.batch, 8, got 3"),
        ({"batch": 0}, r"config\.train\.batch: wanted at least 1, got 0"),
        ({"epoch": 0}, r"config\.train\.epoch: wanted at least 1, got 0"),
        ({"save_every": 0}, r"config\.train\.save_every: wanted at least 1, got 0"),
        ({"log_every": 0}, r"config\.train\.log_every: wanted at least 1, got 0"),
        ({"workers": 0}, r"config\.train\.workers: wanted at least 1, got 0"),
        ({"ahead": 0}, r"config\.train\.ahead: wanted at least 1, got 0"),
        ({"eval_batch": -1}, r"config\.train\.eval_batch: wanted at least 1, got -1"),
        ({"steps": -1}, r"config\.train\.steps: wanted at least 0, got -1"),
        ({"micro": -2}, r"config\.train\.micro: wanted at least 0, got -2"),
        ({"seed": -1}, r"config\.train\.seed: wanted at least 0, got -1"),
        ({"rate": float("nan")}, r"config\.train\.rate: wanted at least 0, got nan"),
    ],
)
def test_a_senseless_setting_is_refused_before_anything_is_written(tmp_path, changed, told):
    with pytest.raises(BadInputError, match=told):
        trained(tmp_path / "run", **changed)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("micro", "key"), [(0, "batch"), (8, "micro")])
def test_a_batch_that_the_devices_cannot_share_is_refused_by_its_key(
    tmp_path, monkeypatch, micro, key
):
    three = SimpleNamespace(size=3, devices=jax.devices()[:1] * 3)
    monkeypatch.setattr(sharding, "make_mesh", lambda: three)
    with pytest.raises(BadInputError, match=rf"^config\.train\.{key}: wanted a multiple .* got 8$"):
        trained(tmp_path / "run", eval_batch=9, micro=micro)
    assert not (tmp_path / "run").exists()


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


def test_an_example_that_fails_stops_the_run_with_its_own_error(tmp_path):
    settings = config()
    experiment = tiny.make(settings)

    def example(step, row):
        if (step, row) == (5, 3):
            raise BadInputError("point-5-3: wanted a point, got none")
        return experiment.example(step, row)

    with pytest.raises(BadInputError, match="point-5-3: wanted a point"):
        loop.train(experiment._replace(example=example), settings, tmp_path)
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())][-1] == "5"


def test_warnings_are_told_after_each_validation_but_not_before_training(tmp_path, capsys):
    settings = config(steps=8, epoch=4)
    seen = []

    def warnings(scores):
        seen.append(scores["loss"])
        return [f"the loss is [{len(seen)}]"]

    loop.train(tiny.make(settings)._replace(warnings=warnings), settings, tmp_path)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert told == ["warning: the loss is [1]", "warning: the loss is [2]"]
    logged = [r["validation/loss"] for r in read_metrics(tmp_path) if "validation/loss" in r]
    assert seen == logged[1:]

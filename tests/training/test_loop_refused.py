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
from tests.training.lines import config, trained


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

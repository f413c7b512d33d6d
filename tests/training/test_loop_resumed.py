import random
import time

import pytest

from energynets.training import loop
from energynets.training.journal import read_metrics
from tests.training import tiny
from tests.training.lines import COMMAND, close, config, interrupted, same, scores, steady
from tests.training.processes import run, start


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
""".replace("ATOL", "1e-4")  # a tenth of what Adam moves by in a step that is noise alone


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

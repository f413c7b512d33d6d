import json
import shutil
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets import pretrained
from energynets.errors import BadInputError
from energynets.training import checkpoints
from tests.training.processes import run

RATES = {"rate": 0.1, "last": float("nan"), "turns": 1 / 3}


def state(value):
    return {"w": jnp.full((3, 2), value, jnp.float32), "count": jnp.int32(value)}


def kept(folder, losses, *, keep_every=0):
    """Saves step n with the n-th loss, each from a manager of its own; the steps left."""
    for step, loss in enumerate(losses):
        with closing(checkpoints.open_manager(folder, keep_every=keep_every)) as manager:
            metrics = None if loss is None else {"loss": loss}
            checkpoints.save(manager, step, state(step), RATES, metrics)
    return sorted(int(p.name) for p in folder.iterdir())


def test_what_is_restored_is_what_was_saved(tmp_path):
    values = {"w": jax.random.normal(jax.random.key(0), (5, 3)), "count": jnp.int32(7)}
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:
        checkpoints.save(manager, 3, values, RATES, {"loss": 1.0})
        found, rates = checkpoints.restore(manager, 3, jax.tree.map(jnp.zeros_like, values))
    jax.tree.map(np.testing.assert_array_equal, found, values)
    assert found["count"].dtype == jnp.int32
    assert rates.keys() == RATES.keys()
    for name, value in RATES.items():
        np.testing.assert_equal(rates[name], value)


def test_the_last_two_and_the_best_are_kept(tmp_path):
    assert kept(tmp_path, [5.0, 1.0, 4.0, None, 3.0, None, None]) == [1, 5, 6]
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:
        assert manager.latest_step() == 6
        assert manager.best_step() == 1


def test_a_better_one_takes_the_place_of_the_best(tmp_path):
    assert kept(tmp_path, [5.0, 3.0, 4.0, 2.0, 6.0, 7.0]) == [3, 4, 5]


def test_every_so_many_steps_one_stays_for_good(tmp_path):
    assert kept(tmp_path, [0.0, *[1.0] * 8], keep_every=3) == [0, 3, 6, 7, 8]


def test_a_checkpoint_that_was_cut_short_is_not_seen(tmp_path):
    kept(tmp_path, [2.0, 1.0])
    cut = tmp_path / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "1", cut)
    (cut / "_CHECKPOINT_METADATA").unlink()
    for path in (cut / "state" / "d").iterdir():
        path.write_bytes(path.read_bytes()[:7])
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:
        assert manager.latest_step() == 1
        checkpoints.save(manager, 2, state(2), RATES, None)
        assert manager.latest_step() == 2
        found, _ = checkpoints.restore(manager, 2, state(0))
    assert float(found["w"][0, 0]) == 2


@pytest.mark.parametrize("gone", ["state", "metrics", "schedule", "_CHECKPOINT_METADATA"])
def test_a_deletion_that_was_cut_short_does_no_harm(tmp_path, gone):
    kept(tmp_path, [1.0, 3.0, 2.0])
    half = tmp_path / "1"
    shutil.rmtree(half / gone) if (half / gone).is_dir() else (half / gone).unlink()
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:
        assert manager.latest_step() == 2 and manager.best_step() == 0
        checkpoints.save(manager, 3, state(3), RATES, {"loss": 1.5})
        assert manager.latest_step() == 3 and manager.best_step() == 0
        found, _ = checkpoints.restore(manager, 3, state(0))
    assert float(found["w"][0, 0]) == 3


EIGHT = """
import jax, jax.numpy as jnp, numpy as np, pathlib, sys
from energynets.training import checkpoints, sharding

mesh = sharding.make_mesh()
assert mesh.size == int(sys.argv[2])
def laid_out():
    whole = jax.device_put(jnp.arange(6.0), sharding.replicated(mesh))
    parts = jax.device_put(jnp.arange(16.0).reshape(8, 2), sharding.along(mesh, 0))
    return {"whole": whole, "parts": parts}
manager = checkpoints.open_manager(pathlib.Path(sys.argv[1]), keep_every=0)
if mesh.size == 8:
    checkpoints.save(manager, 5, laid_out(), {"rate": 0.1}, {"loss": 1.0})
else:
    found, rates = checkpoints.restore(manager, 5, jax.tree.map(jnp.zeros_like, laid_out()))
    assert rates == {"rate": 0.1}
    assert found["whole"].is_fully_replicated and len(found["whole"].devices()) == 2
    assert [s.data.shape for s in found["parts"].addressable_shards] == [(4, 2)] * 2
    jax.tree.map(np.testing.assert_array_equal, found, laid_out())
"""


def test_what_eight_devices_saved_two_and_one_restore(tmp_path):
    run("-c", EIGHT, tmp_path, 8, devices=8)
    run("-c", EIGHT, tmp_path, 2, devices=2)
    like = {"whole": jnp.zeros(6), "parts": jnp.zeros((8, 2))}
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:
        found, _ = checkpoints.restore(manager, 5, like)
    np.testing.assert_array_equal(found["parts"], np.arange(16.0).reshape(8, 2))


# The limit on the size of a file stands for a full disk where nothing may be mounted; with the
# signal ignored, the system answers a write beyond it with an error, as when a disk is full.
FULL = """
import jax.numpy as jnp, pathlib, resource, signal, sys
from energynets.errors import BadInputError
from energynets.training import checkpoints

manager = checkpoints.open_manager(pathlib.Path(sys.argv[1]), keep_every=0)
checkpoints.save(manager, 1, {"w": jnp.arange(50000.0)}, {"rate": 0.1}, {"loss": 1.0})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
try:
    checkpoints.save(manager, 2, {"w": jnp.cos(jnp.arange(50000.0))}, {"rate": 0.1}, {"loss": 0.5})
except BadInputError as error:
    assert str(error).count("\\n") == 0, str(error)
    print(error)
else:
    raise AssertionError("a checkpoint was written where there is no room")
"""


def test_a_disk_without_room_is_told_and_the_checkpoint_before_is_intact(tmp_path):
    out, _ = run("-c", FULL, tmp_path)
    assert f"{tmp_path}: wanted to write the checkpoint of step 2, got: " in out
    assert "those before it are intact" in out
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:
        assert manager.latest_step() == 1
        found, _ = checkpoints.restore(manager, 1, {"w": jnp.zeros(50000)})
        np.testing.assert_array_equal(found["w"], np.arange(50000.0))
        checkpoints.save(manager, 2, {"w": jnp.zeros(50000)}, RATES, {"loss": 0.5})
        assert manager.latest_step() == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        ValueError("UNKNOWN: CommitError: line one\nNo space left on device"),
        RuntimeError("Disk quota exceeded"),
    ],
)
def test_each_way_of_saying_that_the_disk_is_full_is_understood(tmp_path, monkeypatch, error):
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:

        def fail(*_, **__):
            raise error

        monkeypatch.setattr(manager, "save", fail)
        with pytest.raises(BadInputError, match="wanted to write the checkpoint of step 1") as told:
            checkpoints.save(manager, 1, state(1), RATES, None)
    assert "\n" not in str(told.value)


def test_a_defect_is_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:

        def fail(*_, **__):
            raise ValueError("a defect")

        monkeypatch.setattr(manager, "save", fail)
        with pytest.raises(ValueError, match="a defect") as told:
            checkpoints.save(manager, 1, state(1), RATES, None)
    assert not isinstance(told.value, BadInputError)


def test_a_schedule_is_kept_as_text_that_is_exact(tmp_path):
    kept(tmp_path, [1.0])
    text = next(p for p in Path(tmp_path).rglob("schedule/metadata")).read_text()
    assert float.fromhex(json.loads(text)["turns"]) == 1 / 3


def damaged(folder, pattern):
    for path in folder.glob(pattern):
        path.write_bytes(path.read_bytes()[:5])


@pytest.mark.parametrize("pattern", ["1/state/manifest.ocdbt", "1/state/d/*", "1/schedule/*"])
def test_a_damaged_checkpoint_is_named_in_one_line_with_what_is_left(tmp_path, pattern):
    kept(tmp_path, [2.0, 1.0])
    assert [*tmp_path.glob(pattern)]
    damaged(tmp_path, pattern)
    with (
        closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager,
        pytest.raises(BadInputError) as told,
    ):
        checkpoints.restore(manager, 1, state(0))
    line = str(told.value)
    assert line.startswith(f"{tmp_path / '1'}: wanted a whole checkpoint of this run, got ")
    assert line.endswith("; without this folder the same command goes on from step 0")
    assert "\n" not in line and len(line) < 600
    with closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager:
        found, _ = checkpoints.restore(manager, 0, state(5))
    np.testing.assert_array_equal(found["w"], state(0)["w"])


@pytest.mark.parametrize("pattern", ["1/state/manifest.ocdbt", "1/state/d/*", "1/state/_METADATA"])
def test_weights_of_a_damaged_checkpoint_are_refused_in_one_line(tmp_path, pattern):
    kept(tmp_path, [2.0, 1.0])
    assert [*tmp_path.glob(pattern)]
    damaged(tmp_path, pattern)
    with pytest.raises(BadInputError, match=f"^{tmp_path}/1: wanted a whole checkpoint") as told:
        pretrained.checkpoint(tmp_path / "1")
    assert "\n" not in str(told.value)


def test_the_only_checkpoint_damaged_leaves_the_beginning(tmp_path):
    kept(tmp_path, [1.0])
    damaged(tmp_path, "0/state/manifest.ocdbt")
    with (
        closing(checkpoints.open_manager(tmp_path, keep_every=0)) as manager,
        pytest.raises(BadInputError, match=r"goes on from the beginning$"),
    ):
        checkpoints.restore(manager, 0, state(0))


def test_damaged_metrics_are_told_in_one_line(tmp_path):
    kept(tmp_path, [2.0, 1.0])
    damaged(tmp_path, "1/metrics/metrics")
    with pytest.raises(BadInputError, match="wanted whole checkpoints, got one whose metrics can"):
        checkpoints.open_manager(tmp_path, keep_every=0)


def test_a_finished_run_whose_checkpoint_is_damaged_later_ends_in_one_line(tmp_path):
    tiny = Path(__file__).with_name("tiny.py")
    command = ("-m", "tests.training.tiny", f"--config={tiny}", f"--workdir={tmp_path}")
    run(*command, "--config.train.steps=2", "--config.train.epoch=2")
    damaged(tmp_path / "checkpoints", "2/state/manifest.ocdbt")
    _, err = run(*command, "--config.train.steps=2", "--config.train.epoch=2", status=2)
    assert err.startswith(f"error: {tmp_path / 'checkpoints' / '2'}: wanted a whole checkpoint")
    assert err.count("\n") == 1

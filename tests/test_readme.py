"""What the README says is run."""

import importlib
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import energynets

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_of_the_readme_runs_and_the_network_comes_near_the_exact_energy(capsys):
    random = np.random.default_rng(0)
    image = np.full((32, 32, 3), 0.2) + 0.02 * random.random((32, 32, 3))
    image[:, 16:] += 0.5
    seeds = np.zeros((32, 32, 2))
    seeds[4:8, 4, 0] = seeds[20:28, 28, 1] = 1
    block = re.findall(r"```python\n(.*?)```", README, re.S)[0]
    names = {"image": jnp.asarray(image, jnp.float32), "seeds": jnp.asarray(seeds, jnp.float32)}
    exec(block, names)
    network, exact = map(float, capsys.readouterr().out.split())
    assert 0 < exact <= network
    right = jnp.argmax(names["guess"], -1) == (jnp.arange(32) >= 16)
    assert right.mean() > 0.95
    assert np.isfinite(names["slope"]).all()

    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "keep(" in b)
    exec(block, names)
    assert names["solution"].converged
    anew = names["solver"].solve(names["painted"])
    np.testing.assert_allclose(names["solution"].value, anew.value, atol=1e-5)


def test_the_regularized_loss_and_what_it_is_compared_with_run_as_the_readme_has_them():
    pytest.importorskip("maxflow")
    image = np.full((16, 16, 3), 0.2, np.float32)
    image[:, 8:] += 0.5
    seeds = np.zeros((16, 16, 2), np.float32)
    seeds[4, 4, 0] = seeds[4, 12, 1] = 1
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "dense_crf" in b)
    names = {"image": image, "seeds": seeds}
    exec(block, names)
    right = np.arange(16) >= 8
    assert (np.argmax(names["refined"], -1) == right).all()
    assert (names["smooth"] == right).all()
    assert (names["proposal"] == right).all()


def test_every_key_that_the_readme_names_is_one_of_the_config():
    # The first column of each table; `config.train.update(` of the listing is no key.
    seeded, few = README.split("\n## Segmentation from few labels\n")
    named = []
    for text, tasks in ((seeded, ["seeded_seg"]), (few, ["weak_seg", "sparse_seg"])):
        table = "\n".join(re.findall(r"^\| (`config[^|]+) \|", text, re.M))
        keys = re.findall(r"`config\.(\w+)\.?(\w*)`", table)
        assert len(keys) >= table.count("`") // 2 >= 7
        for room, name in keys:
            configs = [importlib.import_module(f"experiments.{t}").get_config() for t in tasks]
            assert any(name in c[room] if name else room in c for c in configs if room in c), room
    # A flag belongs to the task that was named last before it.
    task, flags = "", 0
    for name, *key in re.findall(r"experiments[./](\w+)|--config\.(\w+)\.(\w+)", README):
        task = name or task
        if not name:
            named.append((task, *key))
            flags += 1
    assert flags
    for task, room, name in named:
        config = importlib.import_module(f"experiments.{task}").get_config()
        assert name in config[room], f"{task}: config.{room}.{name}"


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert energynets.__version__ == version("energynets")

import inspect
from functools import partial
from pathlib import Path

import jax
import numpy as np
import scipy.sparse as sparse
from jax.test_util import check_grads
from PIL import Image

from energynets.training.main import train_and_report
from experiments import smoothing

README = Path(__file__).parents[2] / "README.md"


def test_the_energy_is_equation_1_of_the_paper():
    random = np.random.default_rng(0)
    height, width, beta = 5, 7, 30.0
    x, y = random.random((2, height, width, 3))
    place = np.arange(height * width).reshape(height, width)
    pairs = [*zip(place[:-1].flat, place[1:].flat, strict=True)]
    pairs += zip(place[:, :-1].flat, place[:, 1:].flat, strict=True)
    flat = x.reshape(-1, 3)
    weights = sparse.lil_matrix((place.size, place.size))
    for i, j in pairs:
        weights[i, j] = weights[j, i] = np.exp(-beta * ((flat[i] - flat[j]) ** 2).sum())
    laplacian = sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights.tocsr()
    planes = y.reshape(-1, 3)
    expected = sum(planes[:, c] @ (laplacian @ planes[:, c]) for c in range(3))
    expected += ((y - x) ** 2).sum()
    with jax.enable_x64(True):
        assert np.isclose(float(smoothing.energy(x, y, beta=beta)), expected, rtol=1e-12)
        check_grads(partial(smoothing.energy, x, beta=beta), (y,), order=2)


def test_the_whole_experiment_is_at_most_60_lines_and_stands_in_the_readme():
    source = inspect.getsource(smoothing)
    assert len(source.splitlines()) <= 60
    assert f"```python\n{source}```" in README.read_text()


def test_it_trains_in_the_common_loop_and_a_supervised_loss_is_one_line_of_config(tmp_path):
    weights = []
    for supervised in (0.0, 0.5):
        config = smoothing.get_config("smoke")
        config.data.size = 16
        config.network.widths = (8, 8)
        config.loss.supervised = supervised
        folder = tmp_path / str(supervised)
        experiment = smoothing.make(config)
        train_and_report(experiment, config, folder)
        assert "trained" in (folder / "report.md").read_text()
        fresh = experiment.init(jax.random.key(0))
        loss = experiment.loss(fresh, np.ones((1, 16, 16, 3), np.float32), jax.random.key(0))
        weights.append((folder / "report.json").read_text().split('"timing"')[0])
        assert np.isfinite(loss.values).all()
    assert weights[0] != weights[1]


def test_pictures_without_seeds_do_and_a_broken_one_is_told(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "b.png").write_bytes(b"")
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    (tmp_path / "val.txt").write_text("c\n")
    config = smoothing.get_config("smoke")
    config.data.update({"source": "folder", "root": str(tmp_path), "skip_broken": True})
    experiment = smoothing.make(config)
    assert [experiment.name(0, row) for row in range(2)] == ["a", "c"]
    told = capsys.readouterr().out
    assert "left out: " in told and "b.png" in told and "1 of 3 pictures left out" in told

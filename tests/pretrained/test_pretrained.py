import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from energynets import pretrained
from energynets.errors import BadInputError
from energynets.networks import build

SETTINGS = {**build.DEFAULTS, "trunk": "pyramid", "widths": (8, 8), "classes": 3}
DILATED = {**build.DEFAULTS, "head": "classes", "trunk": "dilated", "blocks": 1, "width": 8}
ABOUT = {"command": "python -m …", "scores": {"mIoU": 0.5}, "seed": 0}


def inputs():
    random = np.random.default_rng(0)
    image = random.random((1, 8, 8, 3), np.float32)
    seeds = np.eye(9, 3, dtype=np.float32)[random.integers(0, 9, (1, 8, 8))]
    return image, seeds


def fresh(settings=SETTINGS):
    network = build.seeded(settings, 3)
    init = jax.jit(partial(network.init, train=False))
    return network, init(jax.random.key(0), *inputs())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def flat(tree):
    return {jax.tree_util.keystr(k): v for k, v in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("settings", [SETTINGS, {**DILATED, "classes": 3}])
def test_what_is_loaded_is_what_was_saved(path, settings):
    network, variables = fresh(settings)
    pretrained.save(path, variables, settings=settings, about=ABOUT)
    trained = pretrained.load(path)
    assert flat(trained.variables).keys() == flat(variables).keys()
    for name, value in flat(variables).items():
        np.testing.assert_array_equal(flat(trained.variables)[name], value)
    assert trained.about == ABOUT
    assert trained.network == network
    expected = jax.jit(partial(network.apply, train=False))(variables, *inputs())
    np.testing.assert_array_equal(trained(*inputs()), expected)


def test_half_the_bytes_are_nearly_as_good(path):
    _, variables = fresh()
    pretrained.save(path, variables, settings=SETTINGS, about=ABOUT)
    whole, exact = path.stat().st_size, pretrained.load(path)(*inputs())
    pretrained.save(path, variables, settings=SETTINGS, about=ABOUT, half=True)
    trained = pretrained.load(path)
    assert path.stat().st_size < 0.75 * whole
    assert {leaf.dtype for leaf in jax.tree.leaves(trained.variables)} == {jnp.dtype("float32")}
    # float16 keeps 11 bits.
    np.testing.assert_allclose(trained(*inputs()), exact, atol=5e-3)


def test_the_same_weights_are_the_same_bytes(path):
    _, variables = fresh()
    pretrained.save(path, variables, settings=SETTINGS, about=ABOUT)
    first = path.read_bytes()
    for _ in range(5):
        pretrained.save(path, variables, settings=SETTINGS, about=ABOUT)
        assert path.read_bytes() == first
    with safe_open(path, framework="numpy") as file:
        assert list(file.metadata()) == ["energynets"]  # of several, the order would change


def test_arrays_that_do_not_lie_in_order_are_saved_in_order(path):
    _, variables = fresh()
    turned = jax.tree.map(lambda v: np.asarray(np.asarray(v).T.copy().T), variables)
    pretrained.save(path, turned, settings=SETTINGS, about=ABOUT)
    for name, value in flat(pretrained.load(path).variables).items():
        np.testing.assert_array_equal(value, flat(variables)[name])


def test_a_single_number_stays_a_single_number(path):
    _, variables = fresh()
    single = {"params": {**variables["params"], "sharpness": jnp.float32(2.5)}}
    pretrained.save(path, single, settings=SETTINGS, about=ABOUT)
    found = pretrained.load(path).variables["params"]["sharpness"]
    assert found.shape == () and found == 2.5


def test_the_file_is_wholly_there_or_not_at_all(path, monkeypatch):
    _, variables = fresh()
    pretrained.save(path, variables, settings=SETTINGS, about=ABOUT)
    before = path.read_bytes()

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        pretrained.save(path, variables, settings=SETTINGS, about={})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["empty", "short", "shorter", "garbled"])
def test_a_damaged_file_is_refused(path, damage):
    _, variables = fresh()
    pretrained.save(path, variables, settings=SETTINGS, about=ABOUT)
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "short": content[:-10],
            "shorter": content[:100],
            "garbled": content[:8] + b"?" * (len(content) - 8),
        }[damage]
    )
    with pytest.raises(BadInputError, match=r"weights\.safetensors: wanted weights of ") as told:
        pretrained.load(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "notes",
    [
        None,
        {"format": "pt"},
        {"energynets": "{"},
        {"energynets": "[]"},
        {"energynets": json.dumps({"network": {}, "about": {}})},
        {"energynets": json.dumps({"network": {"classes": 3, "head": "per_label"}, "about": {}})},
    ],
)
def test_a_file_of_somebody_else_is_refused(path, notes):
    save_file({"a": np.zeros(3)}, path, metadata=notes)
    with pytest.raises(BadInputError, match=r"weights\.safetensors: wanted weights of energynets"):
        pretrained.load(path)


def test_a_missing_file_is_refused_and_the_names_are_told(tmp_path):
    with pytest.raises(BadInputError, match=r"nothing: wanted one of .*a weights file, got none"):
        pretrained.load("nothing")
    with pytest.raises(BadInputError, match="wanted one of"):
        pretrained.load(tmp_path)
    with pytest.raises(BadInputError, match="wanted one of"):
        pretrained.load("a" * 300)


@pytest.mark.parametrize("trunk", ["pyramid", "dilated"])
def test_a_checkpoint_of_a_fixed_number_of_labels_loads_whatever_the_config_says(tmp_path, trunk):
    settings = {**DILATED, "trunk": trunk, "widths": (8, 8)}
    network, variables = fresh(settings)
    folder = tmp_path / "checkpoints" / "7"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", {"variables": variables})
    config = {"network": settings, "data": {"classes": 21}}  # embedded pictures know theirs
    (tmp_path / "config.json").write_text(json.dumps(config))
    trained = pretrained.load(folder)
    assert trained.settings["classes"] == 3 and trained.about["step"] == "7"
    expected = jax.jit(partial(network.apply, train=False))(variables, *inputs())
    np.testing.assert_array_equal(trained(*inputs()), expected)


def test_a_pickle_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(BadInputError, match=r"got a pickle, .*safetensors\.torch\.save_file"):
        pretrained.checkpoint(tmp_path / "resnet18.pth")


def test_a_checkpoint_of_a_network_for_few_labels_is_refused_with_the_way_out(tmp_path):
    folder = tmp_path / "checkpoints" / "7"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", {"variables": fresh()[1]})
    config = {"network": {"kind": "pyramid"}, "data": {"classes": 21}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInputError, match=r"build it with `networks\.segmentation\.of`"):
        pretrained.load(folder)


def test_a_checkpoint_without_its_config_is_refused(tmp_path):
    folder = tmp_path / "checkpoints" / "7"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", {"variables": fresh()[1]})
    with pytest.raises(BadInputError, match=r"config\.json: wanted the config of a run"):
        pretrained.load(folder)


def test_every_shipped_name_loads_and_works():
    assert pretrained.names() == sorted(pretrained.names())
    assert {"dehazing", "matting", "seeded_seg"} <= {*pretrained.names()}
    shipped = Path(pretrained.__file__).parent
    image, seeds = inputs()
    for name in pretrained.names():
        assert (shipped / f"{name}.safetensors").stat().st_size < 2e6
        if name == "dehazing":
            coarse = jnp.full(image.shape[:-1], 0.5)
            answer = pretrained.load(name)(image, coarse)
            assert answer.shape == coarse.shape and np.isfinite(answer).all()
        else:
            answer = pretrained.load(name)(image, seeds)
            np.testing.assert_allclose(answer.sum(-1), 1, atol=1e-5)

"""Trained weights: shipped with the package, or written by a run; safetensors, never pickle."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save as serialized

from energynets.errors import BadInputError, first_words, late_reads_silent
from energynets.networks import build, segmentation

_HERE = Path(__file__).parent


class Trained(NamedTuple):
    """A network and its weights.

    about: what made them: command, seed, data, time, scores.
    """

    network: nn.Module
    variables: Mapping[str, Any]
    settings: Mapping[str, Any]
    about: Mapping[str, Any]

    def __call__(
        self, image: Float[Array, "b h w c"], *seeds: Float[Array, "b h w k"]
    ) -> Float[Array, "b h w *k"]:
        """Probabilities of each label for a batch of pictures and their seed planes.

        A network that takes no seeds gives one plane for each picture alone.
        """
        return _apply(self.network)(self.variables, image, *seeds)


@lru_cache(maxsize=8)
def _apply(network: nn.Module):
    return jax.jit(lambda variables, *inputs: network.apply(variables, *inputs, train=False))


def names() -> list[str]:
    """What `load` knows by name."""
    return sorted(path.stem for path in _HERE.glob("*.safetensors"))


def load(name: str | Path) -> Trained:
    """The weights of that name, of a `.safetensors` file, or of a checkpoint of a run.

    Args:
        name: one of `names()`; a file that `save` wrote; or a folder RUN/checkpoints/STEP.

    Raises:
        BadInputError: if there are none, or they are not ours or damaged.
    """
    try:
        if (Path(name) / "state").is_dir():
            return _from_checkpoint(Path(name))
        path = _HERE / f"{name}.safetensors" if str(name) in names() else Path(name)
        found = path.is_file()
    except OSError:  # a name longer than names may be
        found = False
    if not found:
        known = ", ".join([*names(), "a weights file"])
        raise BadInputError(f"{name}: wanted one of {known}, got none of them")
    try:
        with safe_open(path, framework="numpy") as file:
            notes = json.loads((file.metadata() or {})["energynets"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        settings, about = notes["network"], notes["about"]
        network = build.of(settings, settings["classes"])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, OSError) as error:
        raise BadInputError(f"{path}: wanted weights of energynets, got: {error}") from None
    flat = {tuple(k.split("/")): jnp.asarray(v, jnp.float32) for k, v in tensors.items()}
    return Trained(network, unflatten_dict(flat), settings, about)


def arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of any `.safetensors` file by name, such as another library's state file.

    Raises:
        BadInputError: if there is none, or it is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"{path}: wanted a .safetensors file, got: {error}") from None


def checkpoint(folder: str | Path) -> Mapping[str, Any]:
    """The variables of a checkpoint of a run, RUN/checkpoints/STEP, of any network.

    Raises:
        BadInputError: if there is none, or it is damaged.
    """
    import orbax.checkpoint as ocp

    folder = Path(folder)
    if folder.suffix in (".pt", ".pth"):
        raise BadInputError(
            f"{folder}: wanted a checkpoint RUN/checkpoints/STEP or a .safetensors file, got a "
            "pickle, which is not read; in PyTorch: safetensors.torch.save_file("
            "torch.load(FILE), NEW)"
        )
    if not (folder / "state").is_dir():
        raise BadInputError(f"{folder}: wanted a checkpoint RUN/checkpoints/STEP, got none")
    try:
        with late_reads_silent(), ocp.PyTreeCheckpointer() as checkpointer:
            stored: Any = checkpointer.metadata(folder.absolute() / "state").item_metadata.tree
            arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
            state: Any = checkpointer.restore(folder.absolute() / "state", restore_args=arrays)
        return jax.tree.map(jnp.asarray, state["variables"])
    except Exception as error:  # whatever orbax and tensorstore make of damaged files
        raise BadInputError(
            f"{folder}: wanted a whole checkpoint of a run, got {first_words(error)}"
        ) from None


def _from_checkpoint(folder: Path) -> Trained:
    variables = checkpoint(folder)
    claimed = folder.parent.parent / "config.json"
    try:
        config = json.loads(claimed.read_text())
        if "kind" in config["network"]:
            raise BadInputError(
                f"{folder}: wanted a checkpoint of seeded_seg, matting or dehazing, got one of a "
                "network for few labels; build it with `networks.segmentation.of` and take its "
                "weights from `pretrained.checkpoint`"
            )
        settings = {**config["network"], "classes": config["data"]["classes"]}
        if settings["head"] == "classes":  # embedded pictures have their own number of labels
            settings["classes"] = _outputs(variables["params"]["trunk"])
        network = build.of(settings, settings["classes"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise BadInputError(f"{claimed}: wanted the config of a run, got: {error}") from None
    return Trained(network, variables, settings, {"config": config, "step": folder.name})


def _outputs(trunk: Mapping[str, Any]) -> int:
    """The scores that a trunk of `networks.build` gives: what its last convolution does."""
    last = max((n for n in trunk if n.startswith("Conv_")), key=lambda n: int(n.split("_")[1]))
    return trunk[last]["kernel"].shape[-1]


def fitting(trained: Trained, fresh: Mapping[str, Any]) -> Mapping[str, Any]:
    """The variables of `trained`, for a network whose own would be `fresh`.

    Raises:
        BadInputError: if they are of another network.
    """
    if not alike(trained.variables, fresh):
        raise BadInputError(
            "config.start_from: wanted weights of the network that the config describes, got "
            f"those of {dict(trained.settings)}"
        )
    return trained.variables


def segmenter(
    start_from: str, settings: Mapping[str, Any], fresh: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The variables of a network of `networks.segmentation` to begin with.

    Args:
        start_from: a checkpoint RUN/checkpoints/STEP of such a network, torchvision's or timm's
            weights of its trunk as a .safetensors file, or "": `fresh` itself. Weights of a layer
            below the network, params["crf"], are passed over.
        settings: of the network, see `networks.segmentation.DEFAULTS`.
        fresh: the network's own variables; for a checkpoint their shapes are enough.

    Raises:
        BadInputError: if there are none, or they are of another network.
    """
    if not start_from:
        return fresh
    if start_from.endswith(".safetensors"):
        return segmentation.with_trunk(settings, fresh, arrays(start_from))
    begin = dict(checkpoint(start_from))
    begin["params"] = {k: v for k, v in begin["params"].items() if k != "crf"}
    if not alike(begin, fresh):
        raise BadInputError(
            "config.start_from: wanted a checkpoint of the network that the config describes, got "
            "that of another"
        )
    return begin


def alike(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether both variables could be of one network: the same names and shapes."""
    return jax.tree.map(jnp.shape, dict(first)) == jax.tree.map(jnp.shape, dict(second))


def save(
    path: Path,
    variables: Mapping[str, Any],
    *,
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Writes variables, what the network is, and what made it; in float16 if `half`.

    settings: the keys of `networks.build.DEFAULTS`, and "classes".
    """
    kind = np.float16 if half else np.float32
    flat = {
        "/".join(k): np.asarray(v, kind, order="C")
        for k, v in flatten_dict(dict(variables)).items()
    }
    # Under one key, because safetensors writes several in an order that changes from run to run.
    notes = {"energynets": json.dumps({"network": dict(settings), "about": dict(about)})}
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(serialized(flat, metadata=notes))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

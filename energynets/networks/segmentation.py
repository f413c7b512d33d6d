"""Networks from a picture to scores over a fixed number of labels, from a config's plain numbers.

All are called as `network.apply(variables, image, train, …)` with images in [0, 1] and give scores,
b×h×w×k in float32, at the image's size.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from energynets.errors import BadInputError
from energynets.networks import deeplab, resnet
from energynets.networks.contextual_hierarchy import ContextualHierarchy
from energynets.networks.deeplab import DeepLabResNet, LargeFOV
from energynets.networks.patches import PatchConvNet
from energynets.networks.pyramid import Pyramid

DEFAULTS = {
    "kind": "pyramid",  # small; or resnet, large_fov, large_fov_msc, patches, hierarchy
    "widths": (16, 32, 48, 64),  # of the pyramid and the hierarchy, the finest level first
    "width": 64,  # of the patch ConvNet's convolutions
    "hidden": 512,  # of its fully connected layer
    "depth": 18,  # of the ResNet: 18, 50 or 101
    "frozen": False,  # whether the ResNet's batch norm is a constant
}
KINDS = ("pyramid", "resnet", "large_fov", "large_fov_msc", "patches", "hierarchy")

# Of the colours of ImageNet, as torchvision's and timm's weights want them.
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Segmenter(nn.Module):
    """A network on colours of mean about 0 and spread about 1."""

    network: nn.Module

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return getattr(self.network, "least_size", 1)

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], train: bool) -> Any:
        network: Any = self.network
        return network((image - jnp.asarray(_MEAN)) / jnp.asarray(_SPREAD), train)


def of(settings: Mapping[str, Any], classes: int) -> Segmenter:
    """The network that `settings`, see `DEFAULTS`, describe. `kind` says which keys are looked at.

    Raises:
        BadInputError: naming the key of config.network whose value is not one of its kind.
    """
    kind = settings["kind"]
    if kind not in KINDS:
        raise BadInputError(f"config.network.kind: wanted one of {', '.join(KINDS)}, got {kind!r}")
    widths = tuple(settings["widths"])
    if kind in ("pyramid", "hierarchy") and (not widths or any(w < 8 or w % 8 for w in widths)):
        raise BadInputError(f"config.network.widths: wanted multiples of 8, got {widths}")
    if kind == "patches" and min(settings["width"], settings["hidden"]) < 1:
        raise BadInputError("config.network.width and hidden: wanted at least 1, got less")
    if kind == "resnet" and settings["depth"] not in (18, 50, 101):
        raise BadInputError(
            f"config.network.depth: wanted 18, 50 or 101, got {settings['depth']!r}"
        )
    if kind == "pyramid":
        network: nn.Module = Pyramid(classes, widths)
    elif kind == "hierarchy":
        network = ContextualHierarchy(classes, widths)
    elif kind == "patches":
        network = PatchConvNet(classes, settings["width"], settings["hidden"])
    elif kind == "resnet":
        network = DeepLabResNet(classes, settings["depth"], frozen=settings["frozen"])
    else:
        network = LargeFOV(classes, multi_scale=kind == "large_fov_msc")
    return Segmenter(network)


def name(settings: Mapping[str, Any]) -> str:
    """What tells one kind of network from another in a table: "pyramid", "resnet-101"."""
    kind = settings["kind"]
    if kind != "resnet":
        return kind
    return f"resnet-{settings['depth']}" + (", norm frozen" if settings["frozen"] else "")


def with_trunk(
    settings: Mapping[str, Any], variables: Mapping[str, Any], state: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The variables of a resnet or a large_fov whose trunk has torchvision's or timm's weights.

    Args:
        state: as in `resnet.from_torch` and `deeplab.from_torch`.

    Raises:
        BadInputError: if the network has no such trunk, or the state file does not fit.
    """
    kind = settings["kind"]
    if kind not in ("resnet", "large_fov", "large_fov_msc"):
        raise BadInputError(
            "config.network.kind: wanted resnet, large_fov or large_fov_msc for weights of "
            f"ImageNet, got {kind!r}"
        )
    name, read = ("resnet", resnet.from_torch) if kind == "resnet" else ("vgg", deeplab.from_torch)
    trunk = {of: tree["network"][name] for of, tree in variables.items() if name in tree["network"]}
    loaded = read(state, trunk)
    result: dict[str, Any] = jax.tree.map(lambda leaf: leaf, dict(variables))
    for of, tree in loaded.items():
        result[of] = {"network": {**result[of]["network"], name: tree}}
    return result

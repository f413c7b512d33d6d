"""The networks that the tools use, and how a picture of any size is brought to them and back."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from energynets.errors import BadInputError
from energynets.interface.resizing import shrunk

# What the shipped networks were trained at: pictures with more pixels are shrunk to this square.
SIDE = 128

Network = Callable[..., Any]


def named(network: str | Path | Network | None, shipped: str) -> Network | None:
    """A network from its name, its file, a run's checkpoint, or itself; None where none is.

    With None the weights that are shipped under the name `shipped`, if there are any.

    Raises:
        BadInputError: as `pretrained.load`.
    """
    if callable(network):
        return network
    if network is None:
        return _load(shipped) if _is_shipped(shipped) else None
    return _load(str(network))


def predicted(
    network: Network, picture: Float[np.ndarray, "h w c"], *planes: Float[np.ndarray, "h w k"]
) -> Float[np.ndarray, "m n k"]:
    """The network's answer at the size that it sees: the picture's, or `SIDE` × `SIDE`.

    `planes` are seeds: a small pixel is seeded if any of the pixels under it is, with the label
    of most. An answer without labels has one plane.

    Raises:
        BadInputError: if the picture has neither 1 nor 3 channels.
    """
    if picture.shape[-1] not in (1, 3):
        raise BadInputError(
            f"image: wanted 1 or 3 channels for the network, got {picture.shape[-1]}"
        )
    height, width = picture.shape[:2]
    size = (height, width) if height * width <= SIDE**2 else (SIDE, SIDE)
    inputs = [np.broadcast_to(shrunk(picture, size), (*size, 3))]
    for of in planes:
        votes = shrunk(of, size)
        inputs.append((votes.argmax(-1)[..., None] == np.arange(votes.shape[-1])) & (votes > 0))
    answer = np.asarray(network(*(jnp.asarray(a, jnp.float32)[None] for a in inputs))[0])
    return answer[..., None] if answer.ndim == 2 else answer


@lru_cache(maxsize=4)
def _load(name: str) -> Network:
    from energynets import pretrained

    return pretrained.load(name)


@lru_cache(maxsize=4)
def _is_shipped(name: str) -> bool:
    from importlib import resources

    return (resources.files("energynets.pretrained") / f"{name}.safetensors").is_file()

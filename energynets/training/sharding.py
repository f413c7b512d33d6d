"""One mesh axis over all devices of all processes, and batches laid out on it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors.numpy import load, save

from energynets.errors import BadInputError

Tree = Any


def make_mesh(devices: list[Any] | None = None) -> Mesh:
    """All devices along "data"; those of one process lie side by side, so a process's rows do."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.array(sorted(devices, key=lambda d: (d.process_index, d.id))), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def along(mesh: Mesh, axis: int) -> NamedSharding:
    """Array axis `axis` is divided among the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def local_share(mesh: Mesh, count: int, *, what: str) -> range:
    """Which of `count` rows, divided among the devices, are this process's.

    Raises:
        BadInputError: naming `what`, if `count` is not a multiple of the number of devices.
    """
    if count % mesh.size:
        raise BadInputError(
            f"{what}: wanted a multiple of the number of devices, {mesh.size}, got {count}"
        )
    mine = [i for i, d in enumerate(mesh.devices) if d.process_index == jax.process_index()]
    each = count // mesh.size
    return range(mine[0] * each, (mine[-1] + 1) * each)


def put(tree: Tree, sharding: NamedSharding) -> Tree:
    """NumPy arrays, this process's rows of each, to arrays over the whole mesh."""
    return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a), tree)


def stack(examples: list[Tree]) -> Tree:
    """Examples to a batch: NumPy arrays with a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)


def sum_over_processes(sums: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, np.ndarray]:
    """The sums of all processes of the mesh added up; every one of them gets the totals.

    They may have different names: a process whose share of a set is empty has none.
    """
    if len({d.process_index for d in mesh.devices.flat}) == 1:
        return dict(sums)
    from jax.experimental import multihost_utils

    # As bytes: of numbers, all processes would need the same, and JAX would make them float32.
    mine = np.frombuffer(save({k: np.asarray(v, order="C") for k, v in sums.items()}), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(mine.size))
    padded = np.pad(mine, (0, lengths.max() - mine.size))
    totals: dict[str, np.ndarray] = {}
    gathered = multihost_utils.process_allgather(padded)
    for theirs, length in zip(gathered, lengths, strict=True):
        for name, value in load(theirs[:length].tobytes()).items():
            totals[name] = totals.get(name, 0.0) + value
    return totals


def batches(
    example: Callable[[int], Tree], length: int, size: int, mesh: Mesh
) -> "list[tuple[list[int], Callable[[], Tree]]]":
    """The set in batches of `size`: the indices that are this process's, and how to load them.

    The last batch is filled up with index 0; a filled place has the index -1.
    """
    share = local_share(mesh, size, what="config.train.eval_batch")

    def loader(indices: list[int]) -> Callable[[], Tree]:
        return lambda: stack([example(max(index, 0)) for index in indices])

    result = []
    for start in range(0, length, size):
        indices = [start + row if start + row < length else -1 for row in share]
        result.append((indices, loader(indices)))
    return result

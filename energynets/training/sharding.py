"""One mesh axis over all devices of all processes, and batches laid out on it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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


def sum_over_processes(sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each process's sums added up, in float64; every process gets the totals."""
    if jax.process_count() == 1:
        return sums
    from jax.experimental import multihost_utils

    # As pairs of float32, because without x64 a float64 would lose its lower half on the way.
    def halves(value: np.ndarray) -> np.ndarray:
        upper = np.float32(value)
        return np.stack([upper, np.float32(value - upper)])

    gathered = multihost_utils.process_allgather(jax.tree.map(halves, sums))
    return jax.tree.map(lambda a: np.asarray(a, np.float64).sum((0, 1)), gathered)


def batches(
    example: Callable[[int], Tree], length: int, size: int, mesh: Mesh
) -> "list[tuple[list[int], Callable[[], Tree]]]":
    """The set in batches of `size`: the indices that are this process's, and how to load them.

    The last batch is filled up with index 0; a filled place has the index -1.
    """
    share = local_share(mesh, size, what="config.eval.batch")

    def loader(indices: list[int]) -> Callable[[], Tree]:
        return lambda: stack([example(max(index, 0)) for index in indices])

    result = []
    for start in range(0, length, size):
        indices = [start + row if start + row < length else -1 for row in share]
        result.append((indices, loader(indices)))
    return result

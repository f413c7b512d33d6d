import jax
import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.training import sharding
from tests.training.processes import run

EIGHT = """
import jax, jax.numpy as jnp, numpy as np
from energynets.training import sharding

mesh = sharding.make_mesh()
assert mesh.size == 8 and mesh.axis_names == ("data",)
assert [d.id for d in mesh.devices] == sorted(d.id for d in jax.devices())

rows = np.arange(32.0, dtype=np.float32).reshape(16, 2)
placed = sharding.put({"x": rows}, sharding.along(mesh, 0))["x"]
assert len(placed.addressable_shards) == 8
for number, shard in enumerate(placed.addressable_shards):
    np.testing.assert_array_equal(shard.data, rows[2 * number : 2 * number + 2])
columns = sharding.put(rows.T, sharding.along(mesh, 1))
np.testing.assert_array_equal(columns.addressable_shards[3].data, rows.T[:, 6:8])

total = jax.jit(lambda x: x.sum(0), out_shardings=sharding.replicated(mesh))(placed)
assert total.is_fully_replicated
np.testing.assert_array_equal(total, rows.sum(0))

assert sharding.local_share(mesh, 16, what="rows") == range(16)
try:
    sharding.local_share(mesh, 12, what="rows")
except ValueError as error:
    assert str(error) == "rows: wanted a multiple of the number of devices, 8, got 12"
else:
    raise AssertionError("12 rows were accepted")
"""

TWO = """
import jax, numpy as np, sys
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
from energynets.training import sharding

mesh, process = sharding.make_mesh(), jax.process_index()
assert mesh.size == 4
assert [d.process_index for d in mesh.devices] == [0, 0, 1, 1]
share = sharding.local_share(mesh, 8, what="rows")
assert share == (range(4), range(4, 8))[process]

rows = np.arange(8.0, dtype=np.float32)
placed = sharding.put(rows[share.start : share.stop], sharding.along(mesh, 0))
total = jax.jit(lambda x: x.sum(), out_shardings=sharding.replicated(mesh))(placed)
assert float(total) == rows.sum()

# One third has no finite binary form: float32 on the way would show.
mine = {"third": np.float64(1 / 3), "matrix": np.full((2, 2), 2.0**40 + process)}
if process:
    mine["only here"] = np.float64(7)
for sums in (mine, mine if process == 0 else {}):
    totals = sharding.sum_over_processes(sums, mesh)
    shares = 2 if sums is mine and process else 1
    assert totals.keys() >= {"third", "matrix"}, totals
assert totals["third"] == 1 / 3 and totals["matrix"][0, 0] == 2.0**40 and len(totals) == 2
totals = sharding.sum_over_processes(mine, mesh)
assert totals["third"] == 2 / 3 and totals["only here"] == 7
np.testing.assert_array_equal(totals["matrix"], np.full((2, 2), 2.0**41 + 1))

alone = sharding.make_mesh(jax.local_devices())
if process == 0:  # the other process does not take part
    assert sharding.sum_over_processes({"a": np.float64(1)}, alone) == {"a": 1}
batches = sharding.batches(lambda index: np.float32(index), 5, 4, mesh)
assert [indices for indices, _ in batches] == ([[0, 1], [4, -1]], [[2, 3], [-1, -1]])[process]
"""


def test_eight_devices_share_rows_in_order():
    run("-c", EIGHT, devices=8)


def test_two_processes_share_rows_and_add_up_their_sums():
    import socket

    from tests.training.processes import start

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [start("-c", TWO, address, number, devices=2) for number in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err


def test_a_count_that_the_devices_cannot_share_is_refused():
    mesh = sharding.make_mesh()
    assert sharding.local_share(mesh, 3, what="rows") == range(3)

    class Three:
        size = 3

    with pytest.raises(BadInputError, match=r"^rows: wanted a multiple of .* 3, got 4$"):
        sharding.local_share(Three(), 4, what="rows")


def test_examples_are_stacked_leaf_by_leaf():
    stacked = sharding.stack([{"a": np.full(2, i), "b": (i,)} for i in range(3)])
    np.testing.assert_array_equal(stacked["a"], [[0, 0], [1, 1], [2, 2]])
    np.testing.assert_array_equal(stacked["b"][0], [0, 1, 2])


def test_a_set_in_batches_holds_each_index_once():
    mesh = sharding.make_mesh()
    loaded = sharding.batches(lambda index: np.float32(index), 7, 3, mesh)
    assert [indices for indices, _ in loaded] == [[0, 1, 2], [3, 4, 5], [6, -1, -1]]
    np.testing.assert_array_equal(loaded[1][1](), [3, 4, 5])
    np.testing.assert_array_equal(loaded[2][1](), [6, 0, 0])
    assert sharding.batches(lambda index: index, 0, 3, mesh) == []


def test_one_process_has_the_sums_already():
    sums = {"a": np.float64(1 / 3)}
    assert sharding.sum_over_processes(sums, sharding.make_mesh()) == sums


def test_the_mesh_has_one_axis_over_the_devices_given():
    mesh = sharding.make_mesh(jax.devices()[:1])
    assert mesh.axis_names == ("data",) and mesh.size == 1

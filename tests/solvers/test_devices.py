"""The exact solver on several devices, in a process that has eight."""

import os
import subprocess
import sys

PROGRAM = """
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from energynets.seeded import Seeded
from energynets.solvers.random_walker import solve

rng = np.random.default_rng(0)
seeds = np.zeros((8, 9, 10, 2), np.float32)
seeds[:, 2, 3, 0] = seeds[:, 6, 7, 1] = 1
batch = Seeded(jnp.asarray(rng.random((8, 9, 10, 3)), jnp.float32), jnp.asarray(seeds))
run = jax.jit(jax.vmap(lambda inputs: solve(inputs, beta=50.0)))
mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
spread = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
one, eight = run(batch), run(spread)
assert len(eight.value.sharding.device_set) == 8, eight.value.sharding
assert one.converged.all() and eight.converged.all()
np.testing.assert_array_equal(one.steps, eight.steps)
np.testing.assert_allclose(one.value, eight.value, atol=1e-6)
print("equal")
"""


def test_eight_devices_find_what_one_does():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]

from tests.training.processes import run

SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from energynets.energies import matting, random_walker
from energynets.seeded import Seeded

mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
rows = NamedSharding(mesh, PartitionSpec("data"))
rng = np.random.default_rng(0)
image = rng.random((16, 9, 10, 3), np.float32)
seeds = (rng.random((16, 9, 10, 2)) < 0.2).astype(np.float32)
for energy, y in ((random_walker.energy, seeds + 0.25), (matting.energy, image[..., 0])):
    slope = jax.jit(jax.vmap(jax.value_and_grad(energy, argnums=1)))
    apart = jax.device_put((Seeded(image, seeds), y), rows)
    program = slope.lower(*apart).compile()
    # Each device does its own pictures: nothing is sent.
    text = program.as_text()
    words = "all-gather", "all-reduce", "all-to-all", "collective-permute"
    assert not any(word in text for word in words)
    for ours, alone in zip(program(*apart), slope(Seeded(image, seeds), y)):
        assert len(ours.addressable_shards) == 8 and not ours.is_fully_replicated
        np.testing.assert_allclose(ours, alone, rtol=1e-5, atol=1e-5)
"""


def test_pictures_on_eight_devices_need_no_word_from_each_other():
    run("-c", SHARDED, devices=8)

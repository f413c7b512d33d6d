import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
import skimage.transform

from energynets.energies.matting import energy
from energynets.seeded import Seeded
from energynets.solvers import matting
from energynets.solvers.stencil import apply

SHAPE = (13, 17)


def texture(height, width):
    photograph = skimage.data.astronaut() / 255
    return skimage.transform.resize(photograph[:256], (height, width), anti_aliasing=True)


def example(dtype, height=SHAPE[0], width=SHAPE[1]):
    """A photograph with a stroke of background and one of foreground."""
    seeds = np.zeros((height, width, 2))
    seeds[height // 4, : width // 2, 0] = 1
    seeds[3 * height // 4, width // 2 :, 1] = 1
    leaves = texture(height, width), seeds
    return Seeded(*(jnp.asarray(leaf, dtype) for leaf in leaves))


@pytest.mark.parametrize(
    ("radius", "channels", "shape"), [(1, 3, SHAPE), (1, 1, (5, 3)), (2, 3, (7, 6)), (1, 4, (2, 9))]
)
def test_the_stencil_is_half_the_second_derivative_of_the_energy(radius, channels, shape):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        inputs = example(jnp.float64, *shape)
        image = jnp.asarray(rng.random((*shape, channels))) if channels != 3 else inputs.image
        inputs = Seeded(image, inputs.seeds)
        weights = {"epsilon": 1e-4, "seed_weight": 3.0, "radius": radius}
        stencil = matting.stencil(inputs, **weights)
        assert stencil.radius == 2 * radius
        u = jnp.asarray(rng.normal(size=shape))
        gradient = jax.grad(lambda a: energy(inputs, a, **weights))
        product = jax.jvp(gradient, (jnp.zeros(shape),), (u,))[1] / 2
        np.testing.assert_allclose(apply(stencil, u), product, atol=1e-11)

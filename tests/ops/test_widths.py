import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.energies import dense_crf, hessian, kernel_cut, normalized_cut, structure_tensor
from energynets.ops import bilateral
from energynets.solvers import mean_field

IMAGE, VALUES = (np.random.default_rng(0).random((5, 7, k)).astype(np.float32) for k in (3, 2))


@pytest.mark.parametrize("width", [0, -1.0, jnp.float32(0), float("nan"), [0.4, 0.0, 0.4]])
def test_widths_that_are_not_above_0_are_refused(width):
    colour = {"sigma_position": 2.0, "sigma_colour": width}
    for refused in (
        lambda: bilateral.affinity(IMAGE, **colour),
        lambda: bilateral.exact(IMAGE, VALUES, **colour),
        lambda: dense_crf.energy(IMAGE, VALUES, **colour),
        lambda: normalized_cut.energy(IMAGE, VALUES, **colour),
        lambda: kernel_cut.energy(IMAGE, VALUES, **colour),
        lambda: mean_field.field(IMAGE, **colour),
    ):
        with pytest.raises(ValueError, match="sigma_colour must be above 0, got"):
            refused()
    for energy in (structure_tensor.energy, hessian.energy, hessian.norm):
        with pytest.raises(ValueError, match="sigma must be above 0, got"):
            energy(IMAGE, VALUES, sigma=width)
    with pytest.raises(ValueError, match="sigma_smooth must be above 0, got 0"):
        mean_field.field(IMAGE, sigma_position=2.0, sigma_colour=0.4, sigma_smooth=0)


def test_widths_may_be_traced():
    @jax.jit
    def value(width):
        return dense_crf.energy(IMAGE, VALUES, sigma_position=2.0, sigma_colour=width)

    plain = dense_crf.energy(IMAGE, VALUES, sigma_position=2.0, sigma_colour=0.4)
    assert value(0.4) == pytest.approx(float(plain), rel=1e-5)

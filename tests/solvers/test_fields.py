import jax
import numpy as np
import pytest

from energynets.solvers import fields


@pytest.mark.parametrize(("planes", "unknowns", "size"), [(2, 3, 130), (4, 4, 128), (1, 1, 64)])
def test_shares_of_fields_in_tiles_are_sums_at_any_size(planes, unknowns, size):
    random = np.random.default_rng(0)
    basis = random.standard_normal((4, unknowns, size, size)).astype(np.float32)
    u = random.standard_normal((planes, unknowns, size, size)).astype(np.float32)
    found = jax.jit(fields.restrict, static_argnums=2)(basis, u, 2)
    products = np.einsum("fmhw,kmhw->kfhw", basis.astype(float), u)
    half = size // 2
    expected = products.reshape(planes, 4, half, 2, half, 2).sum((-3, -1))
    np.testing.assert_allclose(found, expected, atol=2e-5)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.networks import build
from energynets.networks.transmission import Transmission

SETTINGS = {**build.DEFAULTS, "head": "transmission", "trunk": "pyramid", "widths": (8, 8)}


def test_it_gives_one_plane_between_0_and_1_for_each_picture():
    network = build.of(SETTINGS, 1)
    assert isinstance(network, Transmission) and network.least_size == 1
    image = jax.random.uniform(jax.random.key(0), (2, 9, 11, 3))
    variables = network.init(jax.random.key(1), image, train=False)
    t = network.apply(variables, image, train=False)
    assert t.shape == (2, 9, 11) and t.min() > 0 and t.max() < 1 and np.ptp(t) > 0
    score = network.trunk.bind({"params": variables["params"]["trunk"]})(image, False)
    np.testing.assert_allclose(t, 1 / (1 + jnp.exp(-score[..., 0])), rtol=1e-5)


def test_a_trunk_that_needs_seeds_is_refused():
    with pytest.raises(ValueError, match=r"config\.network\.trunk: wanted"):
        build.of({**SETTINGS, "trunk": "propagation"}, 1)

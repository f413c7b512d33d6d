from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.networks import build
from energynets.networks.dilated import Dilated
from energynets.networks.labels import Classes, PerLabel
from energynets.networks.propagation import Propagation
from energynets.networks.pyramid import Pyramid


def settings(**changed):
    assert changed.keys() <= build.DEFAULTS.keys()
    return {**build.DEFAULTS, **changed}


def test_by_default_labels_are_propagated():
    network = build.seeded(settings(), 21)
    assert network == Propagation((16, 32, 64, 96, 96), jnp.dtype("float32"))


def test_a_pyramid_scores_each_label_on_its_own():
    network = build.seeded(settings(trunk="pyramid"), 21)
    assert isinstance(network, PerLabel)
    assert network.trunk == Pyramid(1, (16, 32, 64, 96, 96), jnp.dtype("float32"))


def test_the_papers_network_is_a_matter_of_two_words():
    network = build.seeded(settings(head="classes", trunk="dilated"), 21)
    assert isinstance(network, Classes)
    assert network.trunk == Dilated(21, dtype=jnp.dtype("float32"))


def test_every_setting_of_the_dilated_network_reaches_it():
    changed = {
        "blocks": 3,
        "width": 8,
        "padding": "reflect",
        "norm": "group",
        "relu_after_dilated": False,
        "norm_on_output": True,
    }
    network = build.trunk(settings(trunk="dilated", dtype="bfloat16", **changed), 5)
    assert network == Dilated(5, **changed, dtype=jnp.dtype("bfloat16"))


@pytest.mark.parametrize("head", ["classes", "per_label"])
@pytest.mark.parametrize("trunk", ["pyramid", "dilated"])
def test_every_head_goes_with_every_trunk(head, trunk):
    network = build.seeded(settings(head=head, trunk=trunk, blocks=1, width=8, widths=[8, 8]), 3)
    image, seeds = jnp.zeros((1, 5, 4, 3)), jnp.zeros((1, 5, 4, 3)).at[0, 0, 0, 1].set(1)
    variables = jax.jit(partial(network.init, train=False))(jax.random.key(0), image, seeds)
    answer = jax.jit(partial(network.apply, train=False))(variables, image, seeds)
    np.testing.assert_allclose(answer.sum(-1), 1, atol=1e-6)
    assert network.trunk.least_size == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"head": "both"}, r"head: wanted one of classes, per_label, got 'both'"),
        ({"trunk": "resnet"}, r"trunk: wanted one of propagation, pyramid, dilated, got 'resnet'"),
        (
            {"head": "classes"},
            r"trunk: wanted pyramid or dilated for config\.network\.head classes, got 'prop.*'$",
        ),
        ({"dtype": "float16"}, r"dtype: wanted auto, float32 or bfloat16, got 'float16'"),
        ({"widths": (8, 12)}, r"widths: wanted multiples of 8, got \(8, 12\)"),
        ({"widths": (0, 8)}, r"widths: wanted multiples of 8, got \(0, 8\)"),
        ({"widths": 8}, r"widths: wanted whole numbers, got 8$"),
        ({"widths": (8, "a")}, r"widths: wanted whole numbers, got \(8, 'a'\)"),
        ({"widths": (8, 16.0)}, r"widths: wanted whole numbers, got \(8, 16\.0\)"),
        ({"widths": "8"}, r"widths: wanted whole numbers, got '8'"),
        ({"widths": ()}, r"widths: wanted multiples of 8, got \(\)"),
        ({"trunk": "dilated", "padding": "same"}, r"padding: wanted one of zero, reflect"),
        ({"norm": "layer"}, r"norm: wanted one of batch, group, none, got 'layer'"),
        ({"trunk": "pyramid", "blocks": 0}, r"blocks: wanted at least 1, got 0"),
        ({"trunk": "dilated", "norm": "layer"}, r"norm: wanted one of batch, group, none"),
        ({"trunk": "dilated", "blocks": 0}, r"blocks: wanted at least 1, got 0"),
        ({"trunk": "dilated", "width": -8}, r"width: wanted at least 1, got -8"),
    ],
)
def test_a_setting_of_no_known_kind_is_refused_by_its_key(changed, told):
    with pytest.raises(BadInputError, match=r"^config\.network\." + told):
        build.seeded(settings(**changed), 3)

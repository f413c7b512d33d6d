import jax
import jax.numpy as jnp
import numpy as np

from energynets.networks.contextual_hierarchy import ContextualHierarchy, halved

IMAGE = np.random.default_rng(0).random((2, 11, 14, 3)).astype(np.float32)
NETWORK = ContextualHierarchy(3, (8, 8, 16))


def test_there_are_scores_at_each_level_and_at_full_size():
    (last, levels), _ = NETWORK.init_with_output(jax.random.key(0), IMAGE, False)
    assert last.shape == (2, 11, 14, 3)
    assert [level.shape[1:] for level in levels] == [(11, 14, 3), (6, 7, 3), (3, 4, 3)]


def test_each_level_is_trained_by_its_own_loss_alone_and_feeds_those_above():
    variables = NETWORK.init(jax.random.key(0), IMAGE, False)

    def total(params, which):
        last, levels = NETWORK.apply({"params": params}, IMAGE, False)
        return jnp.square([*levels, last][which]).sum()

    for which in range(4):
        slopes = jax.grad(total)(variables["params"], which)
        moved = [
            any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slopes[f"Classifier_{k}"]))
            for k in range(4)
        ]
        assert moved == [k == which for k in range(4)]
    changed = jax.tree.map(lambda leaf: leaf, variables["params"])
    changed["Classifier_0"] = jax.tree.map(lambda leaf: leaf + 0.3, changed["Classifier_0"])
    before, after = (
        NETWORK.apply({"params": params}, IMAGE, False) for params in (variables["params"], changed)
    )
    for old, new in zip([*before[1], before[0]], [*after[1], after[0]], strict=True):
        assert np.abs(old - new).max() > 1e-6


def test_halving_takes_the_largest_and_doubles_an_odd_end():
    planes = np.random.default_rng(1).random((1, 5, 4, 2)).astype(np.float32)
    small = np.asarray(halved(jnp.asarray(planes)))
    assert small.shape == (1, 3, 2, 2)
    np.testing.assert_array_equal(small[0, 1, 0], planes[0, 2:4, :2].max((0, 1)))
    np.testing.assert_array_equal(small[0, 2, 1], planes[0, 4, 2:].max(0))

import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import image_tags
from tests.energies.segments import certain, soft

TAGS = np.array([0.0, 1.0, 0.0, 1.0], np.float32)  # the background's entry is not looked at


def four() -> np.ndarray:
    return soft(labels=4)


def ranked(plane: np.ndarray, decay: float) -> float:
    values = sorted(plane.ravel().astype(float), reverse=True)
    weights = [decay**j for j in range(len(values))]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def test_seeding_is_the_mean_cross_entropy_over_seeds():
    seeds, f = certain(), soft()
    seeds[:3] = 0
    picked = [f[p].astype(float) @ seeds[p] for p in np.ndindex(5, 6) if seeds[p].any()]
    assert np.isclose(image_tags.seeding(seeds, f), -np.log(picked).mean(), rtol=1e-5)
    assert image_tags.seeding(0 * seeds, f) == 0


def test_expansion_is_the_published_sum():
    f = four()
    expected = -(
        np.mean([np.log(ranked(f[..., c], 0.996)) for c in (1, 3)])
        + np.log(1 - f[..., 2].max())
        + np.log(ranked(f[..., 0], 0.999))
    )
    assert np.isclose(image_tags.expansion(TAGS, f), expected, rtol=1e-5)


def test_expansion_with_every_tag_or_none_is_finite():
    for tags in (np.ones(4, np.float32), np.zeros(4, np.float32)):
        value, slope = jax.value_and_grad(image_tags.expansion, argnums=1)(tags, four())
        assert np.isfinite(value) and value >= 0 and np.isfinite(slope).all()


def test_boundary_is_the_mean_divergence():
    Q, f = soft(), soft()[::-1]
    wide = Q.astype(float)
    expected = (wide * np.log(wide / f)).sum(-1).mean()
    assert np.isclose(image_tags.boundary(Q, f), expected, rtol=1e-4)
    assert abs(image_tags.boundary(Q, Q)) < 1e-6


def test_certain_mistakes_are_finite():
    Q = certain()
    for loss in (image_tags.seeding, image_tags.boundary):
        value, slope = jax.value_and_grad(loss, argnums=1)(Q, 1 - Q)
        assert np.isfinite(value) and value > 0 and np.isfinite(slope).all()


def test_derivatives_are_right():
    with jax.enable_x64(True):
        # Away from 0, where logarithms bend too much for finite differences.
        f, Q = (0.1 + 0.6 * a.astype(float) for a in (four(), four()[::-1]))
        seeds = certain(labels=4).astype(float)
        check_grads(lambda f: image_tags.seeding(seeds, f), (f,), order=2)
        # A wider step would change the ranks.
        tags = TAGS.astype(float)
        check_grads(lambda f: image_tags.expansion(tags, f), (f,), order=1, eps=1e-6)
        check_grads(image_tags.boundary, (Q, f), order=1)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="4 numbers"):
        image_tags.expansion(TAGS[:3], four())
    with pytest.raises(ValueError, match="must agree"):
        image_tags.boundary(four(), soft())
    with pytest.raises(ValueError, match="must agree"):
        image_tags.seeding(four(), soft())

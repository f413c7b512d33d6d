import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import dense_crf
from energynets.ops import bilateral
from tests.energies.segments import SPECIAL, certain, gaussian, picture, soft

WIDTHS = {"sigma_position": 2.0, "sigma_colour": 0.3}


def stated(image: np.ndarray, S: np.ndarray) -> float:
    W, flat = gaussian(image, 2.0, 0.3), S.reshape(-1, S.shape[-1]).astype(float)
    return sum(flat[:, k] @ W @ (1 - flat[:, k]) for k in range(S.shape[-1]))


@pytest.mark.parametrize("segments", [soft, certain])
def test_it_is_the_sum_over_all_ordered_pairs(segments):
    image, S = picture(), segments()
    expected, mass = stated(image, S), gaussian(image, 2.0, 0.3).sum()
    assert np.isclose(dense_crf.energy(image, S, **WIDTHS), expected, rtol=1e-5)
    assert np.isclose(dense_crf.per_pixel(image, S, **WIDTHS), expected / mass, rtol=1e-5)
    assert np.isclose(dense_crf.mass(image, **WIDTHS), mass, rtol=1e-5)


def test_its_gradient_is_equation_11_and_the_degree():
    image, S = picture(), soft()
    W = gaussian(image, 2.0, 0.3)
    expected = W.sum(1)[:, None] - 2 * W @ S.reshape(-1, 3)
    gradient = jax.grad(dense_crf.energy, argnums=1)(image, S, **WIDTHS)
    np.testing.assert_allclose(gradient.reshape(-1, 3), expected, rtol=1e-4, atol=1e-4)
    share = jax.grad(dense_crf.per_pixel, argnums=1)(image, S, **WIDTHS)
    np.testing.assert_allclose(share.reshape(-1, 3), expected / W.sum(), rtol=1e-4, atol=1e-6)


def test_below_a_softmax_its_gradient_is_equation_11_alone():
    image, scores = picture(), np.log(soft())
    W = gaussian(image, 2.0, 0.3)
    gradient = jax.grad(lambda z: dense_crf.energy(image, jax.nn.softmax(z), **WIDTHS))(scores)
    S = soft().reshape(-1, 3).astype(float)
    slope = -2 * W @ S
    expected = S * (slope - (S * slope).sum(1, keepdims=True))
    np.testing.assert_allclose(gradient.reshape(-1, 3), expected, atol=1e-5)


def test_its_derivatives_are_right_to_second_order():
    with jax.enable_x64(True):
        image, S = picture().astype(float), soft().astype(float)
        for energy in (dense_crf.energy, dense_crf.per_pixel):
            check_grads(lambda s, energy=energy: energy(image, s, **WIDTHS), (S,), order=2)


def test_the_interpolated_filter_has_a_consistent_gradient():
    image, S = picture((12, 13)), soft((12, 13))
    affinity = bilateral.affinity(image, splits=(2, 2), landmarks=8, **WIDTHS)
    assert affinity.landmarks.shape == (4, 8, 5)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: a.astype("float64") if a.dtype == "float32" else a, affinity)
        check_grads(lambda s: dense_crf.of_affinity(wide, s), (S.astype(float),), order=2)


def test_relabelling_mirroring_and_shifted_colours_change_nothing():
    image, S = picture(), soft()
    value = dense_crf.energy(image, S, **WIDTHS)
    for other in (
        dense_crf.energy(image, S[..., [2, 0, 1]], **WIDTHS),
        dense_crf.energy(image[::-1], S[::-1], **WIDTHS),
        dense_crf.energy(image + 0.5, S, **WIDTHS),
    ):
        assert np.isclose(other, value, rtol=1e-5)


def test_one_weight_serves_two_sizes():
    image, S = picture((8, 8)), soft((8, 8), 2)
    larger = [np.repeat(np.repeat(a, 2, 0), 2, 1) for a in (image, S)]
    one = dense_crf.per_pixel(image, S, sigma_position=3.0, sigma_colour=0.5)
    two = dense_crf.per_pixel(*larger, sigma_position=6.0, sigma_colour=0.5)
    assert abs(one - two) < 0.02 * one


@pytest.mark.parametrize("image", SPECIAL, ids=lambda image: str(image.shape))
def test_it_is_finite_on_special_pictures(image):
    S = soft(image.shape[:2])
    value, slope = jax.value_and_grad(dense_crf.energy, argnums=1)(image, S, **WIDTHS)
    assert np.isfinite(value) and value >= 0 and np.isfinite(slope).all()
    assert 0 <= dense_crf.per_pixel(image, S, **WIDTHS) <= 1


def test_batches_are_sums_of_single_pictures():
    images = np.stack([picture(), picture()[::-1]])
    segments = np.stack([soft(), certain()])
    together = jax.vmap(lambda i, s: dense_crf.energy(i, s, **WIDTHS))(images, segments)
    singly = [dense_crf.energy(i, s, **WIDTHS) for i, s in zip(images, segments, strict=True)]
    np.testing.assert_allclose(together, singly, rtol=1e-5)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        dense_crf.energy(picture(), soft((4, 6)), **WIDTHS)

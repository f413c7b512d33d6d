import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import dense_crf, kernel_cut, normalized_cut
from tests.energies.segments import SPECIAL, gaussian, picture, soft

WIDTHS = {"sigma_position": 2.0, "sigma_colour": 0.3}
CUT = {"sigma_position": 4.0, "sigma_colour": 0.3}


def test_it_is_the_crf_and_gamma_normalized_cuts():
    image, S = picture(), soft()
    cut = normalized_cut.energy(image, S, **WIDTHS)
    for ours, crf in (
        (kernel_cut.energy, dense_crf.energy),
        (kernel_cut.per_pixel, dense_crf.per_pixel),
    ):
        value = ours(image, S, gamma=7.0, **WIDTHS)
        assert np.isclose(value, crf(image, S, **WIDTHS) + 7 * cut, rtol=1e-5)


def test_the_cut_may_have_its_own_widths():
    image, S = picture(), soft()
    value = kernel_cut.energy(image, S, gamma=7.0, cut_sigma_position=4.0, **WIDTHS)
    crf = dense_crf.energy(image, S, **WIDTHS)
    assert np.isclose(value, crf + 7 * normalized_cut.energy(image, S, **CUT), rtol=1e-5)


def test_its_gradient_is_equation_12_and_the_degree():
    image, S = picture(), soft()
    W, flat = gaussian(image, 2.0, 0.3), soft().reshape(-1, 3).astype(float)
    degree = W.sum(1)
    expected = np.stack(
        [
            degree
            - 2 * W @ s
            + 7 * (s @ W @ s) * degree / (degree @ s) ** 2
            - 7 * 2 * W @ s / (degree @ s)
            for s in flat.T
        ],
        1,
    )
    gradient = jax.grad(kernel_cut.energy, argnums=1)(image, S, gamma=7.0, **WIDTHS)
    np.testing.assert_allclose(gradient.reshape(-1, 3), expected, rtol=1e-3, atol=1e-4)


def test_its_derivatives_are_right_to_second_order():
    with jax.enable_x64(True):
        image, S = picture().astype(float), soft().astype(float)
        check_grads(lambda s: kernel_cut.energy(image, s, gamma=7.0, **WIDTHS), (S,), order=2)


def test_relabelling_changes_nothing():
    image, S = picture(), soft()
    value = kernel_cut.energy(image, S, **WIDTHS)
    assert np.isclose(kernel_cut.energy(image, S[..., [2, 0, 1]], **WIDTHS), value, rtol=1e-5)


@pytest.mark.parametrize("image", SPECIAL, ids=lambda image: str(image.shape))
def test_it_is_finite_on_special_pictures(image):
    S = soft(image.shape[:2])
    value, slope = jax.value_and_grad(kernel_cut.energy, argnums=1)(image, S, **WIDTHS)
    assert np.isfinite(value) and value >= -1e-5 and np.isfinite(slope).all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        kernel_cut.energy(picture(), soft((4, 6)), **WIDTHS)

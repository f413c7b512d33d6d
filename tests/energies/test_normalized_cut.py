import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import normalized_cut
from tests.energies.segments import SPECIAL, certain, gaussian, picture, soft

WIDTHS = {"sigma_position": 2.0, "sigma_colour": 0.3}


def stated(image: np.ndarray, S: np.ndarray) -> float:
    """Eq. 5 as printed, in float64."""
    W, flat = gaussian(image, 2.0, 0.3), S.reshape(-1, S.shape[-1]).astype(float)
    degree = W.sum(1)
    return sum(s @ W @ (1 - s) / (degree @ s) for s in flat.T)


@pytest.mark.parametrize("segments", [soft, certain])
def test_it_is_equation_5(segments):
    image, S = picture(), segments()
    assert np.isclose(normalized_cut.energy(image, S, **WIDTHS), stated(image, S), rtol=2e-5)


def test_its_gradient_is_equation_12():
    image, S = picture(), soft()
    W, flat = gaussian(image, 2.0, 0.3), soft().reshape(-1, 3).astype(float)
    degree = W.sum(1)
    expected = np.stack(
        [s @ W @ s * degree / (degree @ s) ** 2 - 2 * W @ s / (degree @ s) for s in flat.T], 1
    )
    gradient = jax.grad(normalized_cut.energy, argnums=1)(image, S, **WIDTHS)
    np.testing.assert_allclose(gradient.reshape(-1, 3), expected, rtol=1e-3, atol=1e-5)


def test_its_derivatives_are_right_to_second_order():
    with jax.enable_x64(True):
        image, S = picture().astype(float), soft().astype(float)
        check_grads(lambda s: normalized_cut.energy(image, s, **WIDTHS), (S,), order=2)


def test_an_absent_label_costs_1_and_has_slope_0():
    image, S = picture(), soft(labels=2)
    padded = np.concatenate([S, 0 * S[..., :1]], -1)
    value, slope = jax.value_and_grad(normalized_cut.energy, argnums=1)(image, padded, **WIDTHS)
    assert np.isclose(value, 1 + stated(image, S), rtol=1e-4)
    assert (slope[..., 2] == 0).all() and np.isfinite(slope).all()


def test_a_fading_label_costs_nearly_1():
    image, S = picture(), soft(labels=2)
    faint = np.concatenate([S, np.full_like(S[..., :1], 1e-4)], -1)
    assert np.isclose(
        normalized_cut.energy(image, faint, **WIDTHS), 1 + stated(image, S), rtol=0.02
    )


def test_labels_known_to_be_absent_do_not_count():
    image, S = picture(), soft()
    present = np.array([1.0, 0.0, 1.0], np.float32)
    value = normalized_cut.energy(image, S, present=present, **WIDTHS)
    assert np.isclose(value, stated(image, S[..., [0, 2]]), rtol=1e-4)


def test_scaling_of_a_segment_scales_what_is_kept():
    # 1 - SᵀWS/dᵀS is linear in the scale of S.
    image, S = picture(), soft(labels=1)
    whole = 1 - normalized_cut.energy(image, S, **WIDTHS)
    half = 1 - normalized_cut.energy(image, 0.5 * S, **WIDTHS)
    assert np.isclose(half, 0.5 * whole, rtol=1e-4)


@pytest.mark.parametrize("image", SPECIAL, ids=lambda image: str(image.shape))
@pytest.mark.parametrize("segments", [soft, certain])
def test_it_is_finite_and_between_0_and_the_number_of_labels(image, segments):
    S = segments(image.shape[:2])
    value, slope = jax.value_and_grad(normalized_cut.energy, argnums=1)(image, S, **WIDTHS)
    assert -1e-5 <= value <= 3 and np.isfinite(slope).all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        normalized_cut.energy(picture(), soft((4, 6)), **WIDTHS)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from energynets.data.weak_labels import Example
from energynets.energies import dense_crf, image_tags, normalized_cut
from energynets.solvers import mean_field
from energynets.training import weak_losses

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((8, 8, 3)).astype(np.float32)
Y = RANDOM.dirichlet(np.ones(3), (8, 8)).astype(np.float32)
KNOWN = np.zeros((8, 8, 3), np.float32)
KNOWN[2, 3, 0] = KNOWN[5, 5, 2] = 1
EXAMPLE = Example(IMAGE, KNOWN, np.array([1, 0, 1], np.float32), np.float32(1))
CRF = mean_field.potts(3, appearance=2.0, smoothness=0.5)
WIDTHS = {"sigma_position": 2.0, "sigma_colour": 0.3}


def settings(**changed):
    return ConfigDict({**weak_losses.DEFAULTS, "sigma_colour": 0.3, **changed})


def test_energies_are_those_of_the_picture_at_its_size():
    found = weak_losses.energies(settings(), CRF, EXAMPLE, Y)
    cut = normalized_cut.energy(IMAGE, Y, present=EXAMPLE.present, **WIDTHS)
    assert found.keys() == {"crf", "cut"}
    assert found["crf"] == pytest.approx(float(dense_crf.per_pixel(IMAGE, Y, **WIDTHS)), rel=1e-5)
    assert found["cut"] == pytest.approx(float(cut), rel=1e-5)


def test_the_boundary_loss_is_the_distance_from_mean_field_and_pulls_towards_it():
    of = settings(boundary=1.0, rounds=3)
    found = weak_losses.energies(of, CRF, EXAMPLE, Y)
    field = mean_field.field(IMAGE, sigma_smooth=8 * 3 / 320, radius=1, **WIDTHS)
    refined = mean_field.solve(field, jnp.log(Y), CRF, steps=3).value
    expected = image_tags.boundary(refined, Y)
    assert expected > 1e-3 and found["boundary"] == pytest.approx(float(expected), rel=1e-4)

    def value(scores):
        return weak_losses.energies(of, CRF, EXAMPLE, jax.nn.softmax(scores))["boundary"]

    slope = np.asarray(jax.grad(value)(jnp.log(Y)))
    lower = value(jnp.log(Y) - 5 * slope)
    assert np.isfinite(slope).all() and lower < value(jnp.log(Y))


def test_kernel_cut_is_the_crf_and_gamma_times_the_cut():
    energies = {"crf": jnp.array(2.0), "cut": jnp.array(3.0), "boundary": jnp.array(5.0)}
    of = settings(crf=0.5, cut=0.25, kernel_cut=2.0, gamma=0.1, boundary=4.0)
    expected = 2.5 * 2 + (0.25 + 0.2) * 3 + 4 * 5
    assert weak_losses.total(of, energies) == pytest.approx(expected)
    assert weak_losses.total(settings(), {"crf": jnp.array(2.0), "cut": jnp.array(np.nan)}) == 0


def test_the_regularizer_is_the_total_or_the_cross_entropy_of_adm():
    of = settings(crf=2.0, cut=0.5)
    expected = weak_losses.total(of, weak_losses.energies(of, CRF, EXAMPLE, Y))
    assert weak_losses.regularizer(of, CRF, EXAMPLE, Y) == expected
    of = settings(crf=2.0, crf_by="proposals")
    expected = weak_losses.divergence(of, EXAMPLE, Y)
    assert weak_losses.regularizer(of, CRF, EXAMPLE, Y) == expected > 0


def test_tags_ask_for_the_same_share_of_a_picture_of_any_size():
    y = RANDOM.dirichlet(np.ones(3), (41, 41)).astype(np.float32)
    published = image_tags.expansion(EXAMPLE.present, y)
    assert weak_losses.of_tags(EXAMPLE.present, y) == pytest.approx(float(published), rel=1e-6)
    larger = y.repeat(3, 0).repeat(3, 1)
    told = weak_losses.of_tags(EXAMPLE.present, larger)
    assert told == pytest.approx(float(published), rel=1e-3)


def test_names_tell_what_has_a_weight():
    assert weak_losses.name(settings()) == ""
    told = weak_losses.name(settings(crf=2.0, cut=0.1, crf_by="proposals", kernel_cut=1.0))
    assert told == "0.1 normalized cut + 2 CRF by ADM + 1 kernel cut of γ 0.3"
    assert weak_losses.name(settings(expansion=1, boundary=0.5)) == "1 expansion + 0.5 boundary"

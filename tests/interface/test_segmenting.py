import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

import energynets
from energynets.energies import random_walker
from energynets.seeded import Seeded

SHAPE = (40, 46)
BYTES = skimage.data.astronaut()[20 : 20 + SHAPE[0], 190 : 190 + SHAPE[1]]
SEEDS = np.full(SHAPE, 255)
SEEDS[:3, :20], SEEDS[20:24, 20:30], SEEDS[-4:, -9:] = 7, 2, 30


def energy(image, planes, y, beta):
    problem = Seeded(jnp.asarray(image, jnp.float32), jnp.asarray(planes, jnp.float32))
    return float(random_walker.energy(problem, jnp.asarray(y), beta=beta))


@pytest.mark.parametrize("method", ["exact", "network", "polish"])
def test_every_method_gives_probabilities_and_their_energy(method):
    found = energynets.segment(BYTES, SEEDS, method=method, steps=5, optimality=True)
    assert found.names.tolist() == [2, 7, 30] and found.probabilities.shape == (*SHAPE, 3)
    assert found.probabilities.min() >= 0 and found.probabilities.max() <= 1
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(found.labels, found.names[found.probabilities.argmax(-1)])
    planes = SEEDS[..., None] == found.names
    expected = energy(BYTES / 255, planes, found.probabilities, 1000.0)
    np.testing.assert_allclose(found.energy, expected, rtol=1e-4)
    assert found.steps == {"network": 0, "polish": 5}.get(method, found.steps)
    assert found.converged == (method == "exact") and (found.gap == 0) == (method == "exact")
    assert found.gap is not None and found.gap >= 0


def test_polish_lowers_the_energy_of_the_network_with_every_few_steps():
    runs = [energynets.segment(BYTES, SEEDS, method="polish", steps=n) for n in (0, 2, 5)]
    network = energynets.segment(BYTES, SEEDS, method="network")
    exact = energynets.segment(BYTES, SEEDS)
    energies = [network.energy, *(run.energy for run in runs), exact.energy]
    assert np.isclose(energies[0], energies[1], rtol=1e-4)
    assert energies[1] > energies[2] > energies[3] > energies[4]


def test_a_start_of_ones_own_is_where_polish_begins():
    exact = energynets.segment(BYTES, SEEDS)
    again = energynets.segment(BYTES, SEEDS, method="polish", steps=0, start=exact.probabilities)
    np.testing.assert_allclose(again.energy, exact.energy, rtol=1e-4)
    assert again.residual < 1e-4


def test_pictures_may_be_of_any_kind_and_batches_give_what_each_gives_alone():
    one = energynets.segment(BYTES, SEEDS, beta=100.0)
    for image, seeds in (
        (Image.fromarray(BYTES), Image.fromarray(SEEDS.astype(np.uint8))),
        (jnp.asarray(BYTES / 255, jnp.float32), SEEDS[..., None] == np.array([2, 7, 30])),
    ):
        other = energynets.segment(image, seeds, beta=100.0)
        np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-5)
    mirrored = SEEDS[:, ::-1]
    batch = energynets.segment([BYTES, BYTES[:, ::-1]], [SEEDS, mirrored], beta=100.0)
    assert batch.labels.shape == (2, *SHAPE) and batch.energy.shape == (2,)
    np.testing.assert_allclose(batch.probabilities[0], one.probabilities, atol=1e-5)
    np.testing.assert_allclose(batch.probabilities[1][:, ::-1], one.probabilities, atol=1e-3)
    assert batch.converged.dtype == bool and batch.names.tolist() == [2, 7, 30]


@pytest.mark.parametrize("method", ["exact", "polish", "network"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_pictures_of_one_colour_have_an_answer(method, value):
    flat = np.full((*SHAPE, 3), value, np.float32)
    found = energynets.segment(flat, SEEDS, method=method, steps=3)
    assert np.isfinite(found.probabilities).all() and set(np.unique(found.labels)) <= {2, 7, 30}
    assert (found.labels[SEEDS != 255] == SEEDS[SEEDS != 255]).mean() > 0.9


def test_one_pixel_and_one_label_have_an_answer():
    found = energynets.segment(np.zeros((1, 1, 3)), np.array([[4]]))
    assert found.labels.tolist() == [[4]] and found.converged
    found = energynets.segment(BYTES, np.where(SEEDS == 7, 7, 255))
    assert (found.labels == 7).all()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"method": "fast"}, "method: wanted exact, network, polish, got 'fast'"),
        ({"steps": -1}, "steps: wanted a whole number"),
        ({"steps": 1.5}, "steps: wanted a whole number"),
        ({"beta": "1"}, "beta: wanted a number from 0 to 1e.12, got '1'"),
        ({"seed_weight": 1e300}, "seed_weight: wanted a number"),
        ({"beta": -1.0}, "beta: wanted a number from 0"),
        ({"floor": float("nan")}, "floor: wanted a number from 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(more, told):
    with pytest.raises(energynets.BadInputError, match=told):
        energynets.segment(BYTES, SEEDS, **more)


def test_the_network_says_how_many_channels_it_takes():
    with pytest.raises(energynets.BadInputError, match="1 or 3 channels for the network, got 4"):
        energynets.segment(np.zeros((*SHAPE, 4)), SEEDS, method="network")
    assert energynets.segment(BYTES[..., 0], SEEDS, method="network").labels.shape == SHAPE

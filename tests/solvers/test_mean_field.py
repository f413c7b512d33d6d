import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.energies import dense_crf
from energynets.ops import bilateral
from energynets.solvers import mean_field

WIDTHS = {"sigma_position": 2.0, "sigma_colour": 0.3}
NARROW = {"sigma_smooth": 1.0, "radius": 7}
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((5, 6, 3)).astype(np.float32)
SCORES = RANDOM.standard_normal((5, 6, 3)).astype(np.float32)
SEEDS = np.zeros((5, 6, 3), np.float32)
SEEDS[0, 0, 1] = SEEDS[4, 5, 2] = 1


def gaussian(features: np.ndarray) -> np.ndarray:
    squared = np.square(features[:, None] - features[None]).sum(-1)
    return np.exp(-squared / 2)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def matrices() -> list[np.ndarray]:
    """Both kernels whole, float64: wide and narrow."""
    position = np.moveaxis(np.mgrid[:5, :6], 0, -1).reshape(-1, 2).astype(float)
    colour = IMAGE.reshape(-1, 3).astype(float)
    return [gaussian(np.concatenate([position / 2, colour / 0.3], 1)), gaussian(position)]


def stated(scores: np.ndarray, parameters: mean_field.Parameters, steps: int) -> np.ndarray:
    """Krähenbühl and Koltun's Algorithm 1 in float64 with whole matrices."""
    normalised = []
    for matrix in matrices():
        scale = matrix.sum(1) ** -0.5
        matrix = scale[:, None] * matrix * scale
        normalised.append(matrix - np.diag(np.diag(matrix)))
    flat = scores.reshape(-1, 3).astype(float)
    weights = [np.asarray(w, float) for w in (parameters.appearance, parameters.smoothness)]
    marginals = softmax(flat)
    for _ in range(steps):
        message = sum(w * (k @ marginals) for w, k in zip(weights, normalised, strict=True))
        marginals = softmax(flat - message @ np.asarray(parameters.compatibility, float).T)
    return marginals.reshape(scores.shape)


def trained() -> mean_field.Parameters:
    random = np.random.default_rng(1)
    return mean_field.Parameters(
        jnp.asarray(random.random(3), jnp.float32),
        jnp.asarray(random.random(3), jnp.float32),
        jnp.asarray(random.standard_normal((3, 3)), jnp.float32),
    )


@pytest.mark.parametrize("parameters", [mean_field.potts(3), trained()], ids=["potts", "trained"])
def test_it_is_the_published_algorithm(parameters):
    field = mean_field.field(IMAGE, **WIDTHS, **NARROW)
    solution = mean_field.solve(field, SCORES, parameters, steps=4)
    np.testing.assert_allclose(solution.value, stated(SCORES, parameters, 4), atol=1e-4)
    assert solution.steps == 4


def test_it_says_whether_it_converged():
    field = mean_field.field(IMAGE, **WIDTHS, **NARROW)
    assert not mean_field.solve(field, SCORES, mean_field.potts(3), steps=1).converged
    settled = mean_field.solve(field, SCORES, mean_field.potts(3), steps=100)
    assert settled.converged and settled.residual <= 1e-3


def test_its_derivatives_with_respect_to_scores_and_parameters_are_right():
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, "float64"), trained())
        field = mean_field.field(IMAGE.astype(float), **WIDTHS, **NARROW)

        def value(scores, parameters):
            return mean_field.solve(field, scores, parameters, steps=2).value

        check_grads(value, (SCORES.astype(float), wide), order=1)


def test_it_removes_noise_from_two_flat_regions():
    image = np.zeros((20, 20, 3), np.float32)
    image[:, 10:] = 1
    truth = (image[..., 0] > 0).astype(int)
    noise = np.random.default_rng(2).standard_normal((20, 20, 2))
    scores = (1.0 * np.eye(2)[truth] + noise).astype(np.float32)
    field = mean_field.field(image, sigma_position=10.0, sigma_colour=0.1)
    refined = mean_field.solve(field, scores, mean_field.potts(2)).value
    assert (scores.argmax(-1) != truth).mean() > 0.15
    assert (refined.argmax(-1) == truth).all()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_pictures_one_pixel_wide_give_finite_marginals(level):
    image = np.full((1, 6, 3), level, np.float32)
    field = mean_field.field(image, **WIDTHS, **NARROW)
    value = mean_field.solve(field, SCORES[:1], mean_field.potts(3)).value
    np.testing.assert_allclose(value.sum(-1), 1, rtol=1e-5)


def objective(X: np.ndarray, S: np.ndarray, weight: float) -> float:
    """Eq. 9, the sums over pixels without a seed."""
    unknown = ~(SEEDS > 0).any(-1)
    X64 = np.clip(np.asarray(X, float), 1e-12, 1)
    terms = (X64 * (np.log(X64) - np.log(S.astype(float)))).sum(-1)
    return terms[unknown].sum() + weight * float(dense_crf.energy(IMAGE, X, **WIDTHS))


def test_proposals_never_raise_the_objective_of_equation_9():
    S = softmax(SCORES)
    affinity = bilateral.affinity(IMAGE, **WIDTHS)
    values = [
        objective(mean_field.propose(affinity, S, SEEDS, weight=0.2, steps=n).value, S, 0.2)
        for n in (0, 1, 2, 4, 8, 60)
    ]
    assert all(after <= before + 1e-4 for before, after in itertools.pairwise(values))
    assert values[-1] < values[0] - 0.1


def test_proposals_that_have_settled_solve_their_equation_and_keep_the_seeds():
    S = softmax(SCORES)
    affinity = bilateral.affinity(IMAGE, **WIDTHS)
    solution = mean_field.propose(affinity, S, SEEDS, weight=0.2, steps=200, tol=1e-5)
    assert solution.converged
    X = np.asarray(solution.value, float).reshape(-1, 3)
    expected = softmax(np.log(S.reshape(-1, 3)) + 2 * 0.2 * matrices()[0] @ X)
    known = (SEEDS > 0).any(-1).reshape(-1)
    np.testing.assert_allclose(X[~known], expected[~known], atol=1e-4)
    np.testing.assert_array_equal(X[known], SEEDS.reshape(-1, 3)[known])


def test_batches_are_solved_as_single_pictures_are():
    def solve(image, scores):
        return mean_field.solve(
            mean_field.field(image, **WIDTHS, **NARROW), scores, mean_field.potts(3), steps=3
        ).value

    images, scores = np.stack([IMAGE, 1 - IMAGE]), np.stack([SCORES, -SCORES])
    together = jax.vmap(solve)(images, scores)
    for image, score, value in zip(images, scores, together, strict=True):
        np.testing.assert_allclose(value, solve(image, score), atol=1e-5)


def test_other_shapes_and_numbers_of_labels_are_refused():
    field = mean_field.field(IMAGE, **WIDTHS, **NARROW)
    with pytest.raises(ValueError, match="like the field's picture"):
        mean_field.solve(field, SCORES.swapaxes(0, 1), mean_field.potts(3))
    with pytest.raises(ValueError, match="3×3"):
        mean_field.solve(field, SCORES, mean_field.potts(2))
    with pytest.raises(ValueError, match="must agree"):
        affinity = bilateral.affinity(IMAGE, **WIDTHS)
        mean_field.propose(affinity, softmax(SCORES), SEEDS[..., :2], weight=0.2)
    with pytest.raises(ValueError, match="steps must not be negative, got -1"):
        mean_field.solve(field, SCORES, mean_field.potts(3), steps=-1)
    with pytest.raises(ValueError, match="steps must not be negative, got -1"):
        mean_field.propose(affinity, softmax(SCORES), SEEDS, weight=0.2, steps=-1)

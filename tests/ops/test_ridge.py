import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.ops import ridge

RANDOM = np.random.default_rng(0)
SMALL = RANDOM.random((9, 11, 3)).astype(np.float32)
ANSWER = RANDOM.random((9, 11)).astype(np.float32)


def ridge_of_scipy(colours, answer, epsilon):
    """a and b that minimise the sum of (answer - a·colour - b)² and epsilon |a|²."""
    centred = colours - colours.mean(0)
    gram = centred.T @ centred + epsilon * np.eye(colours.shape[1])
    a = np.linalg.solve(gram, centred.T @ (answer - answer.mean()))
    return a, answer.mean() - a @ colours.mean(0)


@pytest.mark.parametrize("radius", [1, 2])
def test_a_drawing_is_the_mean_of_the_fits_of_all_windows_that_hold_a_pixel(radius):
    side = 2 * radius + 1
    total, count = np.zeros((9, 11)), np.zeros((9, 11))
    for i in range(9 - side + 1):
        for j in range(11 - side + 1):
            window = slice(i, i + side), slice(j, j + side)
            colours = SMALL[window].reshape(-1, 3).astype(float)
            a, b = ridge_of_scipy(colours, ANSWER[window].ravel(), 0.05)
            total[window] += (colours @ a + b).reshape(side, side)
            count[window] += 1
    drawn = ridge.drawn(ANSWER, SMALL, SMALL, radius=radius, epsilon=0.05)
    np.testing.assert_allclose(drawn, total / count, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_affine_in_the_colours_is_drawn_at_full_size_as_if_it_had_been_known_there(
    channels,
):
    # A picture whose every region of 4×4 pixels holds the colours of one small pixel, and detail.
    small = RANDOM.random((8, 10, channels)).astype(np.float32)
    image = np.kron(small, np.ones((4, 4, 1), np.float32))
    image = image + 0.2 * RANDOM.random(image.shape, np.float32)
    slope = np.linspace(0.2, 0.4, channels).astype(np.float32)
    answer, expected = small @ slope + 0.1, image @ slope + 0.1
    drawn = ridge.drawn(answer, small, image, epsilon=1e-6)
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    # Bilinear enlarging knows nothing of the detail.
    blurred = jax.image.resize(answer, expected.shape, "linear")
    assert np.abs(blurred - expected).max() > 0.1


def test_constants_come_back_wherever_the_picture_is_flat_or_not():
    for image in (SMALL, np.zeros_like(SMALL), np.ones_like(SMALL)):
        drawn = ridge.drawn(np.full((9, 11), 0.7, np.float32), image, image)
        np.testing.assert_allclose(drawn, 0.7, atol=1e-6)


def test_pictures_narrower_than_a_window_are_enlarged_linearly():
    answer = RANDOM.random((3, 11)).astype(np.float32)
    drawn = ridge.drawn(answer, SMALL[:3], np.zeros((6, 22, 3), np.float32))
    np.testing.assert_allclose(drawn, jax.image.resize(answer, (6, 22), "linear"), atol=1e-6)


def test_pictures_of_levels_are_taken_as_numbers():
    levels = (SMALL * 255).astype(np.uint8)
    drawn = ridge.drawn(ANSWER, levels, levels, radius=1, epsilon=50.0)
    expected = ridge.drawn(ANSWER, *[levels.astype(np.float32)] * 2, radius=1, epsilon=50.0)
    np.testing.assert_array_equal(drawn, expected)


def test_it_is_linear_in_the_answer_and_has_the_derivative_of_differences():
    def total(answer):
        return (ridge.drawn(answer, SMALL, SMALL, epsilon=0.05) * ANSWER).sum()

    slope = jax.grad(total)(jnp.asarray(ANSWER))
    direction = RANDOM.standard_normal(ANSWER.shape).astype(np.float32)
    moved = total(ANSWER + direction) - total(jnp.asarray(ANSWER))
    np.testing.assert_allclose((slope * direction).sum(), moved, rtol=1e-3)

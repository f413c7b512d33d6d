import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from energynets.energies.matting import energy, smoothness
from energynets.seeded import Seeded

# One shape for most tests, so that little is compiled.
HEIGHT, WIDTH = SHAPE = (11, 14)
KINDS = ["flat", "black", "white", "nearly flat", "saturated", "grey edges", "noise", "photograph"]


def laplacian(image, epsilon=1e-5, radius=1):
    """L from the pairs of every window: αᵀLα is half of Σ w_ij (α_i - α_j)², in float64."""
    height, width, channels = image.shape
    index = np.arange(height * width).reshape(height, width)
    colours = np.asarray(image, np.float64).reshape(-1, channels)
    matrix = np.zeros((index.size, index.size))
    side = 2 * radius + 1
    for row in range(height - side + 1):
        for column in range(width - side + 1):
            window = index[row : row + side, column : column + side].ravel()
            centred = colours[window] - colours[window].mean(0)
            covariance = centred.T @ centred / side**2 + epsilon / side**2 * np.eye(channels)
            weights = (1 + centred @ np.linalg.solve(covariance, centred.T)) / side**2
            matrix[np.ix_(window, window)] += np.diag(weights.sum(1)) - weights
    return matrix


def paired(image, alpha, epsilon, radius=1):
    """Half the sum over ordered pairs, written as a sum and not as a matrix."""
    matrix = laplacian(image, epsilon, radius)
    a = np.asarray(alpha, np.float64).ravel()
    return 0.5 * (-(matrix - np.diag(np.diag(matrix))) * (a[:, None] - a) ** 2).sum()


@functools.cache
def picture(kind, height=HEIGHT, width=WIDTH):
    """Rounded to float32, so that the same picture is given in either precision."""
    rng = np.random.default_rng(1)
    photograph = skimage.data.astronaut()[100 : 100 + height, 200 : 200 + width] / 255
    made = {
        "flat": np.full((height, width, 3), 0.3),
        "black": np.zeros((height, width, 3)),
        "white": np.ones((height, width, 3)),
        "nearly flat": 0.5 + 1e-4 * rng.random((height, width, 3)),
        "saturated": np.clip(3 * photograph - 1, 0, 1),
        # Strong edges of brightness, colour differing by about the square root of epsilon.
        "grey edges": 0.1
        + 0.8 * (rng.random((height, width, 1)) > 0.5)
        + 3e-3 * rng.normal(size=(height, width, 3)),
        "noise": rng.random((height, width, 3)),
        "photograph": photograph,
    }[kind]
    return made.astype(np.float32)


def example(image, seed=0):
    """Seeds at a fifth of the pixels, and an alpha that has nothing to do with the picture."""
    rng = np.random.default_rng(seed)
    planes = np.eye(2)[rng.integers(0, 2, image.shape[:2])]
    planes *= rng.random((*image.shape[:2], 1)) < 0.2
    return Seeded(image, planes), rng.random(image.shape[:2]).astype(np.float32)


def cast(tree, dtype=jnp.float32):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def close(ours, theirs, tolerance):
    """Largest difference relative to the largest entry: single entries may cancel."""
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale + 1e-30)


@jax.jit
def derivatives(image, alpha, epsilon):
    return jax.value_and_grad(
        lambda image, alpha, epsilon: smoothness(image, alpha, epsilon=epsilon), argnums=(0, 1, 2)
    )(image, alpha, epsilon)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-7])
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_are_those_of_the_pairs_in_either_precision(kind, epsilon):
    image, alpha = picture(kind), example(picture(kind))[1]
    gradient = 2 * (laplacian(image, epsilon) @ alpha.ravel().astype(np.float64))
    expected = paired(image, alpha, epsilon)
    single = derivatives(*cast((image, alpha, epsilon)))
    assert single[0].dtype == jnp.float32
    with jax.enable_x64(True):
        double = derivatives(*cast((image, alpha, epsilon), jnp.float64))
        np.testing.assert_allclose(double[0], expected, rtol=1e-9)
        close(np.ravel(double[1][1]), gradient, 1e-9)
    np.testing.assert_allclose(single[0], expected, rtol=1e-5)
    close(np.ravel(single[1][1]), gradient, 1e-4)
    # Slopes up to 1 / sqrt(epsilon) multiply the rounding of colours, felt most by the picture's
    # gradient: where the colours that carry the slope differ by much less than the brightness, and
    # where the gradient itself is small.
    close(single[1][0], double[1][0], 1e-4 if epsilon == 1e-5 else 2e-3)
    np.testing.assert_allclose(single[1][2], double[1][2], rtol=1e-4 if epsilon == 1e-5 else 1e-3)


@pytest.mark.parametrize(("radius", "channels"), [(1, 1), (2, 4)])
def test_any_window_and_any_number_of_channels(radius, channels):
    rng = np.random.default_rng(5)
    image, alpha = cast((rng.random((9, 8, channels)), rng.random((9, 8))))
    value, gradient = jax.value_and_grad(
        lambda alpha: smoothness(image, alpha, epsilon=1e-3, radius=radius)
    )(alpha)
    matrix = laplacian(np.asarray(image), 1e-3, radius)
    np.testing.assert_allclose(value, paired(image, alpha, 1e-3, radius), rtol=1e-5)
    close(gradient.ravel(), 2 * matrix @ np.ravel(alpha), 1e-5)


@pytest.mark.parametrize("kind", ["flat", "saturated", "noise", "photograph"])
def test_equals_pymattings_laplacian(kind):
    pymatting = pytest.importorskip("pymatting", exc_type=ImportError)
    image, alpha = picture(kind), example(picture(kind))[1].astype(np.float64)
    matrix = pymatting.cf_laplacian(image.astype(np.float64), epsilon=1e-5, radius=1)
    expected = alpha.ravel() @ (matrix @ alpha.ravel())
    with jax.enable_x64(True):
        value, _ = derivatives(*cast((image, alpha, 1e-5), jnp.float64))
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    single, _ = derivatives(*cast((image, alpha, 1e-5)))
    np.testing.assert_allclose(single, expected, rtol=1e-5)


def test_seeds_draw_alpha_to_0_and_1():
    inputs, alpha = example(picture("photograph"))
    background, foreground = inputs.seeds[..., 0], inputs.seeds[..., 1]
    pull = (background * alpha**2 + foreground * (alpha - 1) ** 2).sum()
    ours = energy(*cast((inputs, alpha)), seed_weight=7.0)
    np.testing.assert_allclose(ours, paired(inputs.image, alpha, 1e-5) + 7 * pull, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_alpha_costs_nothing(kind):
    alpha = np.full(SHAPE, 0.7)
    value, (of_image, of_alpha, _) = derivatives(*cast((picture(kind), alpha, 1e-5)))
    assert value == 0
    assert jnp.all(of_image == 0)
    assert jnp.all(of_alpha == 0)


@pytest.mark.parametrize("kind", ["nearly flat", "saturated", "grey edges", "noise", "photograph"])
def test_an_alpha_affine_in_the_colours_costs_less_than_epsilon_times_its_slope(kind):
    image, slope = picture(kind), np.asarray([0.3, 0.4, 0.2], np.float32)
    alpha = image @ slope + np.float32(0.1)
    value, (_, gradient, _) = derivatives(*cast((image, alpha, 1e-5)))
    assert 0 <= value <= 1e-5 * (slope**2).sum() * (HEIGHT - 2) * (WIDTH - 2)
    np.testing.assert_allclose(value, paired(image, alpha, 1e-5), rtol=1e-4)
    # The gradient vanishes with epsilon, the rounding of alpha, some 1e-7 a window, does not.
    expected = 2 * laplacian(image) @ alpha.ravel().astype(np.float64)
    np.testing.assert_allclose(gradient.ravel(), expected, atol=2e-5)


@pytest.mark.parametrize("kind", ["noise", "photograph"])
def test_turning_or_mirroring_everything_changes_nothing(kind):
    inputs, alpha = cast(example(picture(kind)))
    plain = energy(inputs, alpha)
    for move in (lambda a: a.swapaxes(0, 1), lambda a: a[::-1], lambda a: a[:, ::-1]):
        moved = energy(jax.tree.map(move, inputs), move(alpha))
        np.testing.assert_allclose(moved, plain, rtol=1e-5)


def test_derivatives_agree_with_finite_differences_to_second_order():
    rng = np.random.default_rng(6)
    with jax.enable_x64(True):
        inputs, alpha = cast(example(picture("noise")[:4, :5]), jnp.float64)
        point = (inputs.image, alpha, jnp.asarray(0.1), jnp.asarray(2.0))
        along, across = (
            tuple(jnp.asarray(rng.normal(size=leaf.shape)) for leaf in point) for _ in range(2)
        )

        def value(image, alpha, epsilon, seed_weight):
            inputs_here = Seeded(image, inputs.seeds)
            return energy(inputs_here, alpha, epsilon=epsilon, seed_weight=seed_weight)

        def dot(left, right):
            return sum((a * b).sum() for a, b in zip(left, right, strict=True))

        def slope(*at):
            return dot(jax.grad(value, argnums=(0, 1, 2, 3))(*at), across)

        @jax.jit
        def everything(step):
            at = tuple(p + step * d for p, d in zip(point, along, strict=True))
            return {
                "value": value(*at),
                "forwards": jax.jvp(value, at, along)[1],
                "backwards": dot(jax.grad(value, argnums=(0, 1, 2, 3))(*at), along),
                "slope": slope(*at),
                "twice, forwards": jax.jvp(slope, at, along)[1],
                "twice, backwards": dot(jax.grad(slope, argnums=(0, 1, 2, 3))(*at), along),
            }

        here, before, after = (everything(step) for step in (0.0, -1e-5, 1e-5))
        for what, first, second in [
            ("value", "forwards", "backwards"),
            ("slope", "twice, forwards", "twice, backwards"),
        ]:
            # Central differences: 1e-10 times the third derivative, and 1e-16 / 1e-5.
            difference = (after[what] - before[what]) / 2e-5
            np.testing.assert_allclose(here[first], difference, rtol=1e-6)
            np.testing.assert_allclose(here[second], here[first], rtol=1e-10)


@pytest.mark.parametrize("kind", ["flat", "grey edges", "noise", "photograph"])
def test_the_second_derivative_in_float32_is_the_matrix(kind):
    image, alpha = cast((picture(kind), example(picture(kind))[1]))
    direction = np.random.default_rng(3).normal(size=SHAPE)

    @jax.jit
    def both(image, alpha, direction):
        gradient = jax.grad(smoothness, argnums=1)
        forward = jax.jvp(lambda a: gradient(image, a), (alpha,), (direction,))[1]
        return forward, jax.grad(lambda a: (gradient(image, a) * direction).sum())(alpha)

    expected = 2 * laplacian(np.asarray(image)) @ direction.ravel()
    for ours in both(image, alpha, cast(direction)):
        close(ours.ravel(), expected, 1e-4)


def test_a_batch_by_vmap_is_the_loop():
    batch = [cast((picture(kind), example(picture(kind))[1], 1e-5)) for kind in KINDS]
    together = jax.jit(jax.vmap(derivatives))(
        *(jnp.stack(leaves) for leaves in zip(*batch, strict=True))
    )
    for i, one in enumerate(batch):
        alone = derivatives(*one)
        # Each is within 1e-4 of what is right.
        jax.tree.map(lambda t, a, i=i: close(t[i], a, 2e-4), together, alone)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 6, 3), (6, 1, 3), (2, 7, 3)])
def test_a_picture_smaller_than_a_window_has_no_smoothness(shape):
    inputs, alpha = cast(example(np.random.default_rng(4).random(shape)))
    value, gradients = jax.value_and_grad(smoothness, argnums=(0, 1))(inputs.image, alpha)
    assert value == 0
    assert all(jnp.all(leaf == 0) for leaf in gradients)
    value, gradients = jax.value_and_grad(energy, argnums=(0, 1))(inputs, alpha)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("image", "seeds", "alpha"),
    [
        ((4, 5, 3), (4, 5, 3), (4, 5)),
        ((4, 5, 3), (4, 4, 2), (4, 5)),
        ((4, 5, 3), (4, 4, 2), (4, 4)),
        ((4, 5), (4, 5, 2), (4, 5)),
        ((4, 5, 3), (4, 5, 2), (4, 5, 1)),
    ],
)
def test_shapes_that_do_not_agree_are_refused(image, seeds, alpha):
    with pytest.raises(ValueError, match=r"H×W, got|must agree, got"):
        energy(Seeded(jnp.ones(image), jnp.ones(seeds)), jnp.ones(alpha))


def test_a_radius_below_1_is_refused():
    with pytest.raises(ValueError, match="radius must be 1 or more, got 0"):
        smoothness(jnp.ones((4, 5, 3)), jnp.ones((4, 5)), radius=0)


def test_changing_the_weights_does_not_recompile():
    inputs, alpha = cast(example(picture("noise")))
    energy(inputs, alpha, epsilon=1e-5, seed_weight=1.0)
    compiled = energy._cache_size()
    energy(inputs, alpha, epsilon=1e-3, seed_weight=0.5)
    assert energy._cache_size() == compiled


@pytest.mark.parametrize("dtype", [bool, np.uint8, jnp.bfloat16])
def test_seeds_of_any_type_are_those_numbers(dtype):
    image, seeds = cast(example(picture("noise"))[0])
    seeds = seeds.at[0].set(1)  # both labels in a pixel
    alpha = jnp.zeros(seeds.shape[:2])
    expected = energy(Seeded(image, seeds), alpha)
    assert energy(Seeded(image, seeds.astype(dtype)), alpha) == expected
    assert energy(Seeded(image, seeds.astype(dtype)), alpha.astype(np.uint8)) == expected


@pytest.mark.parametrize("radius", [1, 2])
def test_float32_stays_float32_where_float64_is_enabled(radius):
    inputs, alpha = example(picture("noise"))
    with jax.enable_x64(True):
        found = jax.value_and_grad(lambda a: energy(cast(inputs), a, radius=radius))(cast(alpha))
    assert all(leaf.dtype == jnp.float32 for leaf in found)


@pytest.mark.parametrize("radius", [1, 2])
def test_without_channels_alpha_is_drawn_to_the_mean_of_every_window(radius):
    alpha = np.random.default_rng(0).random((8, 9)).astype(np.float32)
    found = smoothness(jnp.zeros((8, 9, 0)), alpha, radius=radius)
    side = 2 * radius + 1
    each = np.lib.stride_tricks.sliding_window_view(alpha.astype(float), (side, side))
    np.testing.assert_allclose(found, each.var((2, 3)).sum() * side**2, rtol=1e-6)


@pytest.mark.parametrize("radius", [1, 4])
def test_memory_does_not_grow_with_the_window(radius):
    size = 96
    inputs, alpha = cast(example(np.ones((size, size, 3))))
    loss = functools.partial(energy, radius=radius)
    program = jax.jit(jax.value_and_grad(loss, argnums=1)).lower(inputs, alpha).compile()
    planes = program.memory_analysis().temp_size_in_bytes / alpha.nbytes
    assert 1 < planes < 40

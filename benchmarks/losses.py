"""Value and gradient of the energies as losses, against the forms in which the papers print them.

python -m benchmarks.losses [--size 128] [--repeats 9]

In float32, batches of the journal's training: 13 pictures with 21 labels for the random walker, 10
for matting. The gradient is that with respect to the prediction. All forms are compiled beforehand
and then take turns in one process; medians are printed, beside the time of copying the prediction
once, the least that any form could take. "memory" is what XLA sets aside for temporaries. "error"
is the largest difference of the gradient from ours in float64, relative to its largest entry.
"""

import argparse
import functools
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
import skimage.transform
from jaxtyping import Array
from rich.console import Console
from rich.table import Table

from energynets.energies import matting, random_walker
from energynets.seeded import Seeded

Loss = Callable[[Seeded, Array], Array]
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def four_shifts(inputs: Seeded, y: Array) -> Array:
    """Journal Eq. 14 as printed: four shifted copies stacked, half of the sum over all of them."""
    image, seeds = inputs

    def shifted(array: Array) -> Array:
        padded = jnp.pad(array, ((1, 1), (1, 1), (0, 0)))
        return jnp.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])

    inside = shifted(jnp.ones_like(image[..., :1]))[..., 0]
    squared = jnp.square(image - shifted(image)).sum(-1)
    weights = inside * (jnp.exp(-1000 * squared) + 1e-6)
    smooth = 0.5 * (weights[..., None] * jnp.square(y - shifted(y))).sum()
    return smooth + (seeds.sum(-1, keepdims=True) * jnp.square(y - seeds)).sum()


def _windows(array: Array) -> Array:
    """The 9 pixels of every 3×3 window: (H-2)×(W-2)×9×…"""
    height, width = array.shape[0] - 2, array.shape[1] - 2
    places = [(row, column) for row in range(3) for column in range(3)]
    return jnp.stack([array[r : r + height, c : c + width] for r, c in places], axis=2)


def pair_weights(image: Array) -> Array:
    """Journal Eq. 17: the weights of the 81 ordered pairs of every window."""
    centred = _windows(image)
    centred -= centred.mean(2, keepdims=True)
    covariance = jnp.einsum("hwia,hwib->hwab", centred, centred) / 9
    covariance += 1e-5 / 9 * jnp.eye(image.shape[-1])
    whitened = jnp.linalg.solve(covariance, centred.swapaxes(2, 3))
    return (1 + jnp.einsum("hwia,hwaj->hwij", centred, whitened)) / 9


def eighty_one_pairs(weights: Array, inputs: Seeded, alpha: Array) -> Array:
    """Journal Eq. 16 with the half that makes it αᵀLα."""
    pixels = _windows(alpha)
    smooth = 0.5 * (weights * jnp.square(pixels[..., :, None] - pixels[..., None, :])).sum()
    seeds = inputs.seeds
    return smooth + (seeds.sum(-1) * jnp.square(alpha - seeds[..., 1])).sum()


def all_pairs(inputs: Seeded, alpha: Array) -> Array:
    return eighty_one_pairs(pair_weights(inputs.image), inputs, alpha)


def batch(count: int, size: int, labels: int) -> Seeded:
    """Crops of photographs, with seeds at a twentieth of the pixels."""
    rng = np.random.default_rng(0)
    images = []
    for i in range(count):
        photograph = getattr(skimage.data, PHOTOGRAPHS[i % len(PHOTOGRAPHS)])()
        corner = rng.integers(0, np.asarray(photograph.shape[:2]) - 256)
        crop = photograph[corner[0] : corner[0] + 256, corner[1] : corner[1] + 256]
        images.append(skimage.transform.resize(crop, (size, size), anti_aliasing=True))
    seeds = np.eye(labels)[rng.integers(0, labels, (count, size, size))]
    seeds *= rng.random((count, size, size, 1)) < 0.05
    return Seeded(jnp.asarray(np.stack(images), jnp.float32), jnp.asarray(seeds, jnp.float32))


class Form(NamedTuple):
    name: str
    loss: Loss
    ours: bool = False


def compiled(loss: Loss, inputs: Seeded, prediction: Array):
    def total(prediction: Array, inputs: Seeded) -> Array:
        return jax.vmap(loss)(inputs, prediction).sum()

    return jax.jit(jax.value_and_grad(total)).lower(prediction, inputs).compile()


def in_float64(loss: Loss, inputs: Seeded, prediction: Array) -> np.ndarray:
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), "float64"), inputs)
        wide_prediction = jnp.asarray(np.asarray(prediction), "float64")
        _, gradient = compiled(loss, wide, wide_prediction)(wide_prediction, wide)
        return np.asarray(gradient)


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def compare(table: Table, title: str, forms: list[Form], inputs, prediction, repeats: int) -> None:
    programs = {form.name: compiled(form.loss, inputs, prediction) for form in forms}
    contenders = {
        name: functools.partial(program, prediction, inputs) for name, program in programs.items()
    }
    # One is added because a plain copy would be optimised away.
    copy = jax.jit(lambda array: array + 1).lower(prediction).compile()
    contenders["copy of the prediction"] = functools.partial(copy, prediction)
    times = {name: [] for name in contenders}
    for _ in range(repeats + 1):
        for name, contender in contenders.items():
            times[name].append(seconds(contender))
    # The first round warms caches up.
    median = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    ours = next(form for form in forms if form.ours)
    truth = in_float64(ours.loss, inputs, prediction)
    for name, taken in median.items():
        row = [f"{1000 * taken:.1f}", f"{taken / median[ours.name]:.1f}"]
        if name in programs:
            value, gradient = contenders[name]()
            error = np.abs(np.asarray(gradient) - truth).max() / np.abs(truth).max()
            analysis = programs[name].memory_analysis()
            memory = f"{analysis.temp_size_in_bytes / 1e6:.0f}" if analysis else "unknown"
            row += [memory, f"{value:.6g}", f"{error:.0e}"]
        table.add_row(title, name, *row)
    table.add_section()


def main() -> None:
    parser = argparse.ArgumentParser(description="Energies as losses, in several forms.")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    size, repeats = arguments.size, arguments.repeats

    table = Table(title="Value and gradient, float32, median")
    for column in ("energy", "form"):
        table.add_column(column)
    for column in ("ms", "/ ours", "memory, MB", "value", "error"):
        table.add_column(column, justify="right")

    rng = np.random.default_rng(1)
    inputs = batch(13, size, 21)
    probabilities = jnp.asarray(rng.dirichlet(np.ones(21), (13, size, size)), jnp.float32)
    forms = [Form("ours", random_walker.energy, True), Form("four stacked shifts", four_shifts)]
    title = f"random walker, 13×{size}×{size}×21"
    compare(table, title, forms, inputs, probabilities, repeats)

    inputs = batch(10, size, 2)
    alpha = jnp.asarray(rng.random((10, size, size)), jnp.float32)
    forms = [Form("ours", matting.energy, True), Form("81 pairs, weights included", all_pairs)]
    compare(table, f"matting, 10×{size}×{size}", forms, inputs, alpha, repeats)

    console = Console(width=max(120, Console().width))
    console.print(table)
    console.print(
        f"{jax.devices()[0].device_kind}, {platform.machine()}; JAX {jax.__version__}, "
        f"NumPy {np.__version__}"
    )


if __name__ == "__main__":
    main()

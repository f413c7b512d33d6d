"""Value and gradient of the energies as losses, against the forms in which the papers print them.

python -m benchmarks.losses [--size 128] [--repeats 9]

In float32, batches of the journal's training: 13 pictures with 21 labels for the random walker, 10
for matting; weights are part of every call. The gradient is that with respect to the prediction.
The papers' forms are differentiated by autodiff and run twice: as one program compiled by XLA,
which fuses much of what they stack, and operation by operation, as the authors' framework ran
them. All take turns in one process, and so do two copies, the least that any form could take: of
the prediction, and of everything that a loss reads, pictures and seeds too. "memory" is what XLA
sets aside for temporaries; "error" the largest difference of the gradient from ours in float64,
relative to its largest entry.
"""

import argparse
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
import skimage.transform
from jaxtyping import Array

from benchmarks.rows import OURS, Row, alternate, show
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


def summed(loss: Loss):
    def total(prediction: Array, inputs: Seeded) -> Array:
        return jax.vmap(loss)(inputs, prediction).sum()

    return jax.value_and_grad(total)


def in_float64(loss: Loss, inputs: Seeded, prediction: Array) -> np.ndarray:
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), "float64"), inputs)
        _, gradient = summed(loss)(jnp.asarray(np.asarray(prediction), "float64"), wide)
        return np.asarray(gradient)


def compare(
    comparison: str, ours: Loss, theirs: Loss, name: str, inputs: Seeded, prediction: Array, turns
) -> Iterator[Row]:
    programs = {
        form: jax.jit(summed(loss)).lower(prediction, inputs).compile()
        for form, loss in ((OURS, ours), (f"{name}, compiled", theirs))
    }
    forms = programs | {f"{name}, operation by operation": summed(theirs)}
    contenders = {
        form: functools.partial(
            lambda program: jax.block_until_ready(program(prediction, inputs)), program
        )
        for form, program in forms.items()
    }
    # One is added because a plain copy would be optimised away.
    copy = jax.jit(lambda tree: jax.tree.map(lambda array: array + 1, tree))
    for what, read in (("the prediction", prediction), ("all that is read", (inputs, prediction))):
        contenders[f"copy of {what}"] = functools.partial(
            lambda program, read: jax.block_until_ready(program(read)),
            copy.lower(read).compile(),
            read,
        )
    truth = in_float64(ours, inputs, prediction)
    for method, taken in alternate(contenders, turns).items():
        row = {"comparison": comparison, "case": "×".join(map(str, prediction.shape))}
        row |= {"method": method, **taken}
        if method in forms:
            value, gradient = contenders[method]()
            row["value"] = float(value)
            row["error"] = float(np.abs(np.asarray(gradient) - truth).max() / np.abs(truth).max())
        if method in programs and (analysis := programs[method].memory_analysis()):
            row["memory"] = analysis.temp_size_in_bytes
        yield row


def rows(*, size: int = 128, repeats: int = 9) -> Iterator[Row]:
    """Both energies, each against the paper's form and a copy."""
    rng = np.random.default_rng(1)
    yield from compare(
        "random-walker loss",
        random_walker.energy,
        four_shifts,
        "four stacked shifts",
        batch(13, size, 21),
        jnp.asarray(rng.dirichlet(np.ones(21), (13, size, size)), jnp.float32),
        repeats,
    )
    yield from compare(
        "matting loss",
        matting.energy,
        all_pairs,
        "81 pairs",
        batch(10, size, 2),
        jnp.asarray(rng.random((10, size, size)), jnp.float32),
        repeats,
    )


def quick() -> Iterator[Row]:
    return rows(size=48, repeats=3)


def main() -> None:
    parser = argparse.ArgumentParser(description="Energies as losses, in several forms.")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    show(rows(size=arguments.size, repeats=arguments.repeats))


if __name__ == "__main__":
    main()

"""Fast Gaussian filtering over position and colour against brute force and a permutohedral lattice.

python -m benchmarks.filtering [--size 320] [--labels 21] [--repeats 7] [--accuracy-only]

Accuracy: `ops.bilateral` and, where it is installed, `pydensecrf2`'s lattice, each against exact
sums at some random pixels of four photographs of scikit-image, float32. "mass" is Σ W 1 over that
of the exact kernel, "values" the largest relative 2-norm error of the filtered planes: ones, four
random regions as one-hot planes, brightness, and noise; "scaled" is the same after dividing by the
mass. "pixel" is the error of a pixel's degree (W 1)_p in per cent, median and 95th percentile.

Time: set-up and one filtering of H×W×K planes, taking turns in one process; medians of wall-clock
and of processor time, and the median of the ratios of each round. The lattice's filtering is that
of a mean-field step from which a step without it was subtracted.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
import skimage.data
import skimage.transform

from energynets.ops import bilateral

try:
    from pydensecrf import densecrf
except ImportError:
    densecrf = None

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
WIDTHS = ((80, 13), (100, 15))  # of the published losses, pixels and levels of 255
PUBLISHED_SIDE = 320


def photograph(name: str, size: int) -> np.ndarray:
    """The middle square, brought to size×size, in [0, 1], of 256 levels as the lattice's is."""
    picture = getattr(skimage.data, name)()
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    picture = picture[top : top + side, left : left + side]
    picture = skimage.transform.resize(picture, (size, size), anti_aliasing=True)
    return (picture * 255).round().astype(np.float32) / 255


def planes(image: np.ndarray) -> np.ndarray:
    size = image.shape[0]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4, size, size))
    smooth = np.stack([scipy.ndimage.gaussian_filter(plane, size / 20) for plane in noise], -1)
    regions = np.eye(4)[smooth.argmax(-1)]
    brightness = image.mean(-1, keepdims=True)
    ones = np.ones((size, size, 1))
    values = [ones, regions, brightness, rng.random((size, size, 1))]
    return np.concatenate(values, -1).astype(np.float32)


def exact_at(image, values, sigma_position, sigma_colour, pixels) -> np.ndarray:
    """Exact sums at some pixels, float64."""
    position = np.moveaxis(np.mgrid[: image.shape[0], : image.shape[1]], 0, -1) / sigma_position
    features = np.concatenate([position, image / sigma_colour], -1).astype(np.float64)
    features = features.reshape(-1, features.shape[-1])
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    result = []
    for pixel in pixels:
        squared = np.square(features - features[pixel]).sum(-1)
        result.append(np.exp(-0.5 * squared) @ flat)
    return np.array(result)


class Lattice:
    """The permutohedral lattice of pydensecrf2, which offers it in mean-field steps alone."""

    def __init__(self, image: np.ndarray, labels: int, sigma_position: float, sigma_colour: float):
        height, width = image.shape[:2]
        levels = np.ascontiguousarray((image * 255).round().astype(np.uint8))
        unary = np.zeros((labels, height * width), np.float32)
        # So that no exponential of a mean-field step overflows.
        self.weight = 1 / (height * width)
        self.plain = densecrf.DenseCRF2D(width, height, labels)
        self.plain.setUnaryEnergy(unary)
        self.field = densecrf.DenseCRF2D(width, height, labels)
        self.field.setUnaryEnergy(unary)
        start = clocks()
        self.field.addPairwiseBilateral(
            sxy=(sigma_position, sigma_position),
            srgb=(sigma_colour * 255,) * 3,
            rgbim=levels,
            compat=self.weight,
            kernel=densecrf.DIAG_KERNEL,
            normalization=densecrf.NO_NORMALIZATION,
        )
        self.set_up = clocks() - start

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W f for f whose last plane is 0, and the two times of filtering.

        A step turns Q into the softmax of weight · W Q, whose logarithms beside that of the last
        plane are weight · W f.
        """
        taken, after = [], None
        for field in (self.plain, self.field):
            after, first, second = field.startInference()
            np.asarray(after)[:] = values.reshape(-1, values.shape[-1]).T
            start = clocks()
            field.stepInference(after, first, second)
            taken.append(clocks() - start)
        logarithms = np.log(np.asarray(after, dtype=np.float64).T)
        filtered = (logarithms - logarithms[:, -1:]) / self.weight
        return filtered.reshape(values.shape), taken[1] - taken[0]


def clocks() -> np.ndarray:
    """Wall-clock and processor time in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(function: Callable[[], Any]) -> np.ndarray:
    start = clocks()
    jax.block_until_ready(function())
    return clocks() - start


def errors(name: str, result: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    mass = result[:, 0].sum() / expected[:, 0].sum()
    norms = np.linalg.norm(expected, axis=0)
    degree = 100 * np.abs(result[:, 0] / expected[:, 0] - 1)
    return {
        "filter": name,
        "mass": round(float(mass), 4),
        "values": round(float((np.linalg.norm(result - expected, axis=0) / norms).max()), 4),
        "scaled": round(float((np.linalg.norm(result / mass - expected, axis=0) / norms).max()), 4),
        "pixel_median_percent": round(float(np.median(degree)), 2),
        "pixel_95_percent": round(float(np.quantile(degree, 0.95)), 2),
    }


def accuracy(size: int, pixels: int = 500) -> list[dict[str, Any]]:
    """Rows of both filters on every photograph at the published widths, scaled to the size."""
    rows = []
    for position, colour in WIDTHS:
        widths = (position * size / PUBLISHED_SIDE, colour / 255)
        for name in PHOTOGRAPHS:
            image = photograph(name, size)
            values = planes(image)
            chosen = np.random.default_rng(1).choice(size**2, min(pixels, size**2), replace=False)
            expected = exact_at(image, values, *widths, chosen)
            affinity = bilateral.affinity(image, sigma_position=widths[0], sigma_colour=widths[1])
            results = {"ours": np.asarray(bilateral.apply(affinity, values))}
            if densecrf is not None:
                padded = np.pad(values, ((0, 0), (0, 0), (0, 1)))
                lattice = Lattice(image, padded.shape[-1], *widths)
                results["lattice"] = lattice(padded)[0][..., :-1]
            case = {"photograph": name, "size": size, "sigmas": f"{position}/{colour}"}
            for filter_name, result in results.items():
                at_pixels = result.reshape(-1, values.shape[-1])[chosen]
                rows.append(case | errors(filter_name, at_pixels, expected))
    return rows


def times(size: int, labels: int, repeats: int) -> list[dict[str, Any]]:
    """Set-up and filtering in milliseconds, of both filters in turns."""
    position, colour = WIDTHS[0][0] * size / PUBLISHED_SIDE, WIDTHS[0][1] / 255
    image = photograph("astronaut", size)
    device_image = jnp.asarray(image)
    values = np.random.default_rng(0).random((size, size, labels)).astype(np.float32)
    device_values = jnp.asarray(values)

    def set_up():
        return bilateral.affinity(device_image, sigma_position=position, sigma_colour=colour)

    @jax.jit
    def at_once(image, values):
        made = bilateral.affinity(image, sigma_position=position, sigma_colour=colour)
        return bilateral.apply(made, values)

    taken: dict[str, list[np.ndarray]] = {"ours": [], "lattice": []}
    for _ in range(repeats + 1):
        start = timed(set_up)
        affinity = jax.block_until_ready(set_up())
        filtering = timed(lambda: bilateral.apply(affinity, device_values))  # noqa: B023
        both = timed(lambda: at_once(device_image, device_values))
        taken["ours"].append(np.stack([start, filtering, both]))
        if densecrf is not None:
            lattice = Lattice(image, labels, position, colour)
            _, filtering = lattice(values)
            taken["lattice"].append(
                np.stack([lattice.set_up, filtering, lattice.set_up + filtering])
            )
    rows = []
    for name, all_taken in taken.items():
        if not all_taken:
            continue
        median = 1000 * np.median(np.stack(all_taken[1:]), axis=0)  # the first one warms up
        row = {"filter": name, "size": size, "labels": labels}
        for part, (wall, processor) in zip(("set_up", "filter", "both"), median, strict=True):
            row[f"{part}_ms"] = round(float(wall), 1)
            row[f"{part}_processor_ms"] = round(float(processor), 1)
        if taken["lattice"]:
            ratios = [
                mine[2] / theirs[2]
                for mine, theirs in zip(all_taken[1:], taken["lattice"][1:], strict=True)
            ]
            wall, processor = np.median(np.stack(ratios), axis=0)
            row["wall_to_lattice"] = round(float(wall), 2)
            row["processor_to_lattice"] = round(float(processor), 2)
        row["load"] = round(os.getloadavg()[0], 1)
        row["device"] = jax.devices()[0].device_kind
        rows.append(row)
    return rows


def loss_step(size: int = 128, batch: int = 4, labels: int = 21, repeats: int = 7) -> dict:
    """A training step of the paper's network with the dense-CRF loss, in times of one without."""
    from energynets.energies import dense_crf, partial_cross_entropy
    from energynets.networks.dilated import Dilated

    rng = np.random.default_rng(0)
    images = jnp.asarray(np.stack([photograph(PHOTOGRAPHS[i % 4], size) for i in range(batch)]))
    seeds = np.eye(labels, dtype=np.float32)[rng.integers(0, labels, (batch, size, size))]
    seeds = jnp.asarray(seeds * (rng.random((batch, size, size, 1)) < 0.03))
    network = Dilated(labels)
    variables = network.init(jax.random.key(0), images, False)
    position, colour = WIDTHS[0][0] * size / PUBLISHED_SIDE, WIDTHS[0][1] / 255

    def crf(image, y):
        return dense_crf.per_pixel(image, y, sigma_position=position, sigma_colour=colour)

    def step(weight):
        def loss(parameters):
            tree = {**variables, "params": parameters}
            scores, _ = network.apply(tree, images, True, mutable=["batch_stats"])
            y = jax.nn.softmax(scores)
            total = jax.vmap(partial_cross_entropy.energy)(seeds, y).mean()
            return total + (weight * jax.vmap(crf)(images, y).mean() if weight else 0)

        return jax.jit(jax.grad(loss))

    steps = [step(0.0), step(1e-3)]
    taken = [
        [timed(functools.partial(f, variables["params"])) for f in steps]
        for _ in range(repeats + 1)
    ]
    taken = np.array(taken)[1:]
    ratio = np.median(taken[:, 1] / taken[:, 0], axis=0)
    without, with_loss = 1000 * np.median(taken, axis=0)
    return {
        "step": f"{batch}×{size}×{size}×{labels}",
        "without_ms": round(float(without[0]), 1),
        "with_ms": round(float(with_loss[0]), 1),
        "ratio": round(float(ratio[0]), 2),
        "processor_ratio": round(float(ratio[1]), 2),
        "load": round(os.getloadavg()[0], 1),
    }


def rows(
    size: int = 320, labels: int = 21, repeats: int = 7, accuracy_only: bool = False
) -> list[dict[str, Any]]:
    """Everything that is measured, as plain dicts."""
    found = accuracy(size)
    if not accuracy_only:
        found += [*times(size, labels, repeats), loss_step()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Gaussian filtering over position and colour.")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--labels", type=int, default=21)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--accuracy-only", action="store_true")
    arguments = vars(parser.parse_args())
    for row in rows(**arguments):
        print("  ".join(f"{key}={value}" for key, value in row.items()))
    if densecrf is None:
        print("pydensecrf2 is not installed, so there is no peer: pip install pydensecrf2")


if __name__ == "__main__":
    main()

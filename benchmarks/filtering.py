"""Fast Gaussian filtering over position and colour against brute force and a permutohedral lattice.

python -m benchmarks.filtering [--size 320] [--labels 21] [--repeats 7] [--accuracy-only]

Accuracy: `ops.bilateral` and, where it is installed, `pydensecrf2`'s lattice, each against exact
sums at some random pixels of four photographs of scikit-image, float32. "error" is the largest
relative 2-norm error of the filtered planes: ones, four random regions as one-hot planes,
brightness, and noise; "scaled" is the same after dividing by the mass, Σ W 1 over that of the exact
kernel; "degree" is the error of (W 1)_p of a pixel, median and 95th percentile.

Time: set-up and one filtering of H×W×K planes, taking turns in one process; medians, and the
median of the ratios of each round. The lattice's filtering is that of a mean-field step from which
a step without it was subtracted.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
import skimage.data
import skimage.transform

from benchmarks.rows import OURS, Row, show
from energynets.ops import bilateral

try:
    from pydensecrf import densecrf
except ImportError:
    densecrf = None

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
WIDTHS = ((80, 13), (100, 15))  # of the published losses, pixels and levels of 255
PUBLISHED_SIDE = 320
_CALLS = 3  # of a method in its turn


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
    """Means of some calls, so that one is not judged by the memory that the peer leaves behind."""
    start = clocks()
    for _ in range(_CALLS):
        jax.block_until_ready(function())
    return (clocks() - start) / _CALLS


def errors(result: np.ndarray, expected: np.ndarray) -> Row:
    mass = result[:, 0].sum() / expected[:, 0].sum()
    norms = np.linalg.norm(expected, axis=0)
    degree = 100 * np.abs(result[:, 0] / expected[:, 0] - 1)
    scaled = (np.linalg.norm(result / mass - expected, axis=0) / norms).max()
    return {
        "error": float((np.linalg.norm(result - expected, axis=0) / norms).max()),
        "mass": float(mass),
        "note": f"mass {mass:.3f}, scaled {scaled:.4f}, degree {np.median(degree):.2f} %, "
        f"{np.quantile(degree, 0.95):.1f} %",
    }


def accuracy(size: int, pixels: int = 500) -> list[Row]:
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
            results = {OURS: np.asarray(bilateral.apply(affinity, values))}
            if densecrf is not None:
                padded = np.pad(values, ((0, 0), (0, 0), (0, 1)))
                lattice = Lattice(image, padded.shape[-1], *widths)
                results["lattice"] = lattice(padded)[0][..., :-1]
            case = f"{name} {size}², σ {position}/{colour}"
            for method, result in results.items():
                at_pixels = result.reshape(-1, values.shape[-1])[chosen]
                row = {"comparison": "Gaussian filter, accuracy", "case": case, "method": method}
                rows.append(row | errors(at_pixels, expected))
    return rows


def times(size: int, labels: int, repeats: int) -> list[Row]:
    """Set-up and filtering, of both filters in turns."""
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

    ours, theirs = [], []
    for _ in range(repeats + 1):
        start = timed(set_up)
        affinity = jax.block_until_ready(set_up())
        filtering = timed(functools.partial(bilateral.apply, affinity, device_values))
        both = timed(lambda: at_once(device_image, device_values))
        ours.append(np.stack([start, filtering, both]))
        if densecrf is not None:
            calls = []
            for _ in range(_CALLS):
                lattice = Lattice(image, labels, position, colour)
                _, filtering = lattice(values)
                calls.append([lattice.set_up, filtering, lattice.set_up + filtering])
            theirs.append(np.mean(calls, axis=0))
    taken = {OURS: np.array(ours[1:])}  # the first one warms up
    if theirs:
        taken["lattice"] = np.array(theirs[1:])
    rows = []
    for part, what in enumerate(("set-up", "filter", "both, one program")):
        for method, rounds in taken.items():
            row = {"comparison": f"Gaussian filter, {what}", "case": f"{size}×{size}×{labels}"}
            reference = None if method == OURS else taken[OURS][:, part]
            rows.append(row | {"method": method} | _seconds(rounds[:, part], reference))
    return rows


def _seconds(rounds: np.ndarray, reference: np.ndarray | None) -> Row:
    """The columns of time of one method, from wall-clock and processor time in each round."""
    wall, processor = (float(time) for time in np.median(rounds, axis=0))
    row: Row = {"seconds": wall, "cpu": processor}
    if reference is not None:
        ratios = (float(ratio) for ratio in np.median(rounds / reference, axis=0))
        row["ratio"], row["cpu_ratio"] = ratios
    return row


def loss_step(size: int = 128, batch: int = 4, labels: int = 21, repeats: int = 7) -> list[Row]:
    """A training step of the paper's network with and without the dense-CRF loss."""
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
    case = {"comparison": "training step", "case": f"{batch}×{size}×{size}×{labels}"}
    without, with_loss = taken[:, 0], taken[:, 1]
    return [
        case | {"method": "cross entropy alone"} | _seconds(without, None),
        case | {"method": "with the dense-CRF loss"} | _seconds(with_loss, without),
    ]


def rows(
    size: int = 320, labels: int = 21, repeats: int = 7, accuracy_only: bool = False
) -> list[Row]:
    """Everything that is measured; in the last comparison × is of a step without the loss."""
    found = accuracy(size)
    if not accuracy_only:
        found += [*times(size, labels, repeats), *loss_step()]
    return found


def quick() -> list[Row]:
    step = loss_step(size=32, batch=1, labels=3, repeats=1)
    return [*accuracy(48), *times(48, labels=3, repeats=1), *step]


def main() -> None:
    parser = argparse.ArgumentParser(description="Gaussian filtering over position and colour.")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--labels", type=int, default=21)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--accuracy-only", action="store_true")
    show(rows(**vars(parser.parse_args())))
    if densecrf is None:
        print("pydensecrf2 is not installed, so there is no peer: pip install pydensecrf2")


if __name__ == "__main__":
    main()

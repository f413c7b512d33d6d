"""Our exact solver of the random walker against SciPy's two, on the same systems in one process.

python -m benchmarks.random_walker [--sizes 64 128 256] [--betas 100 1000] [--repeats 5]

All in float64, alternating, one picture after the other; medians are printed. Both sides start
from the picture's edge weights on the host: SciPy's time is that of factoring and solving, its
matrix being built beforehand; ours includes the weights, but not the compilation, which is stated
apart. The error is that against SuperLU refined in extended precision, which is the truth to about
1e-15; SciPy's own error stands beside it.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
import scipy.sparse
import scipy.sparse.linalg
import skimage.data
import skimage.transform
from rich.console import Console
from rich.table import Table

from energynets.energies.random_walker import edge_weights
from energynets.seeded import Seeded
from energynets.solvers.random_walker import solve

FLOOR = 1e-6


def pictures(size: int) -> dict[str, Seeded]:
    """Photographs of scikit-image, size×size, with one stroke for each of two labels."""
    seeds = np.zeros((size, size, 2))
    seeds[size // 4, size // 4 : size // 2, 0] = 1
    seeds[3 * size // 4, size // 2 : 3 * size // 4, 1] = 1
    photographs = {name: getattr(skimage.data, name)() for name in ("astronaut", "chelsea")}
    return {
        name: Seeded(
            jnp.asarray(skimage.transform.resize(picture, (size, size), anti_aliasing=True)),
            jnp.asarray(seeds),
        )
        for name, picture in photographs.items()
    }


class System:
    """(L + λQ) Y = λQX with λ = 1 as SciPy wants it."""

    def __init__(self, inputs: Seeded, beta: float):
        height, width, labels = inputs.seeds.shape
        index = np.arange(height * width).reshape(height, width)
        self.first = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
        self.second = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
        weights = [edge_weights(inputs.image, axis, beta=beta, floor=FLOOR) for axis in (0, 1)]
        self.weight = np.concatenate([np.asarray(w).ravel() for w in weights])
        self.seeds = np.asarray(inputs.seeds).reshape(-1, labels)
        self.known = self.seeds.sum(-1, keepdims=True)
        pairs = scipy.sparse.coo_array(
            (
                np.r_[self.weight, self.weight],
                (np.r_[self.first, self.second], np.r_[self.second, self.first]),
            ),
            shape=(index.size, index.size),
        ).tocsr()
        diagonal = np.asarray(pairs.sum(1)).ravel() + self.known[:, 0]
        self.matrix = (scipy.sparse.diags_array(diagonal) - pairs).tocsc()
        self.rhs = self.known * self.seeds

    def spsolve(self) -> np.ndarray:
        return np.asarray(scipy.sparse.linalg.spsolve(self.matrix, self.rhs))

    def splu(self) -> np.ndarray:
        """SuperLU told that the matrix is symmetric: minimum degree on Aᵀ + A, no pivoting."""
        options = {"SymmetricMode": True}
        return scipy.sparse.linalg.splu(
            self.matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options
        ).solve(self.rhs)

    def refined(self) -> np.ndarray:
        """SuperLU's solution, its residuals taken in extended precision and as differences."""
        lu = scipy.sparse.linalg.splu(self.matrix)
        y = np.zeros(self.rhs.shape, np.longdouble)
        for _ in range(3):
            flow = self.weight[:, None] * (y[self.second] - y[self.first])
            residual = self.known * (self.seeds - y)
            np.add.at(residual, self.first, flow)
            np.subtract.at(residual, self.second, flow)
            y += lu.solve(residual.astype(np.float64))
        return y.astype(np.float64)


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Our random-walker solver against SciPy.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--betas", type=float, nargs="+", default=[100.0, 1000.0])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    table = Table(title="Random walker, 2 labels, float64: seconds, median")
    for column in (
        *("picture", "size", "beta", "ours", "splu", "spsolve", "splu / ours", "spsolve / ours"),
        *("our error", "splu's error", "residual", "steps", "converged"),
    ):
        table.add_column(column, justify="right")
    compilation = {}
    for size in arguments.sizes:
        for name, inputs in pictures(size).items():
            if size not in compilation:
                start = time.perf_counter()
                compiled = jax.jit(solve).lower(inputs, beta=1.0, floor=FLOOR).compile()
                compilation[size] = time.perf_counter() - start
            for beta in arguments.betas:
                system = System(inputs, beta)
                weights = {"beta": jnp.asarray(beta), "floor": jnp.asarray(FLOOR)}
                contenders = {
                    "ours": lambda compiled=compiled, inputs=inputs, weights=weights: compiled(
                        inputs, **weights
                    ),
                    "splu": system.splu,
                    "spsolve": system.spsolve,
                }
                times = {who: [] for who in contenders}
                for _ in range(arguments.repeats + 1):
                    for who, contender in contenders.items():
                        times[who].append(seconds(contender))
                # The first round warms caches up.
                median = {who: statistics.median(taken[1:]) for who, taken in times.items()}
                solution, truth = contenders["ours"](), system.refined()
                ours = np.asarray(solution.value).reshape(truth.shape)
                table.add_row(
                    *(name, f"{size}²", f"{beta:g}"),
                    *(f"{median[who]:.4f}" for who in contenders),
                    *(f"{median[who] / median['ours']:.2f}" for who in ("splu", "spsolve")),
                    *(f"{np.abs(y - truth).max():.0e}" for y in (ours, system.splu())),
                    *(f"{solution.residual:.0e}", str(solution.steps), str(solution.converged)),
                )
    console = Console(width=max(150, Console().width))
    console.print(table)
    compiling = ", ".join(f"{size}²: {taken:.1f}" for size, taken in compilation.items())
    console.print(f"Compilation, once a shape, in seconds: {compiling}")
    console.print(
        f"{jax.devices()[0].device_kind}, {platform.machine()}; JAX {jax.__version__}, "
        f"SciPy {scipy.__version__}, NumPy {np.__version__}"
    )


if __name__ == "__main__":
    main()

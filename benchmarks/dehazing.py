"""Refined transmissions: ours against SuperLU, at the papers' λ = 1e-4 and ε = 1e-6.

python -m benchmarks.dehazing [--sizes 128 512] [--repeats 3] [--root FOLDER]

A photograph gets haze of a depth that grows from its bottom to its top, and its coarse transmission
by the dark channel is refined; float64, tolerance 1e-6. Ours begins with the picture and the coarse
transmission; splu factors and solves a matrix that is built beforehand, once a case between two
turns of ours. "error" is the largest difference from SuperLU refined in extended precision, "MB"
of ours what XLA sets aside, that of splu its factors.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.pictures import photographs
from benchmarks.rows import OURS, Kept, Row, alternate, show
from benchmarks.systems import System, told
from energynets.energies.dehazing import Hazy, coarse_transmission
from energynets.solvers.dehazing import solve, stencil

WEIGHTS = {"data_weight": 1e-4, "epsilon": 1e-6}
AIR = 0.9


def hazy(picture: np.ndarray) -> Hazy:
    depth = np.linspace(2.0, 0.2, picture.shape[0])[:, None, None]
    clear = np.exp(-depth)
    image = jnp.asarray(picture * clear + AIR * (1 - clear))
    return Hazy(image, coarse_transmission(image, jnp.full(3, AIR, image.dtype)))


def rows(
    *, sizes: tuple[int, ...] = (128, 512), repeats: int = 3, root: Path | None = None
) -> Iterator[Row]:
    with jax.enable_x64(True):
        for size in sizes:
            program, note = None, ""
            for name, picture in photographs(size, root, 2).items():
                inputs = hazy(picture)
                if program is None:
                    start = time.process_time()
                    program = (
                        jax.jit(lambda inputs: solve(inputs, tol=1e-6, **WEIGHTS))
                        .lower(inputs)
                        .compile()
                    )
                    note = f"compiled in {time.process_time() - start:.0f} s of CPU"
                rhs = WEIGHTS["data_weight"] * np.asarray(inputs.coarse)
                problem = System(stencil(inputs, **WEIGHTS), rhs)
                ours = Kept(lambda p=program, i=inputs: jax.block_until_ready(p(i)))
                splu = Kept(problem.splu)
                taken = alternate({OURS: ours}, repeats)
                taken |= {"splu": alternate({OURS: ours, "splu": splu}, 1, slow=("splu",))["splu"]}
                truth, solution = problem.refined(), ours.result
                about = {"comparison": "dehazing", "case": f"{name} {size}²", "pixels": size**2}
                yield about | {
                    "method": OURS,
                    **taken[OURS],
                    "error": float(np.abs(np.asarray(solution.value) - truth).max()),
                    **told(solution, program, note),
                }
                yield about | {
                    "method": "splu",
                    **taken["splu"],
                    "error": float(np.abs(splu.result - truth).max()),
                    "memory": problem.fill(),
                }


def quick() -> Iterator[Row]:
    return rows(sizes=(16,), repeats=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Refined transmissions against SuperLU.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--root", type=Path, help="photographs in place of scikit-image's")
    given = vars(parser.parse_args())
    show(rows(**given | {"sizes": tuple(given["sizes"])}))


if __name__ == "__main__":
    main()

"""How time and memory grow with the picture: both solvers of both energies, and SuperLU.

python -m benchmarks.growth [--sizes 128 256 512 1024 2048] [--gib GIB] [--repeats 3]

Float32, the default tolerances but 1e-3 for the iterative solver, two labels, one stroke each;
the random walker at β = 1000, matting at ε = 1e-5 and λ = 100. Every row is a process of its own:
"memory" is its peak beyond what it held before it solved, without compiling; seconds are medians.
The direct solver and SuperLU go as far as a process of `gib` GiB, by default two thirds of the
machine's, holds them by their own estimate: three times the factor for ours, and 40 (random walker)
or 300 (matting) entries of 12 bytes a pixel, times log2 of the side, for SuperLU. Where two rows
differ in size, "note" has the exponents of time and memory in the number of pixels since the row
before.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import child
from benchmarks.pictures import photographs, strokes
from benchmarks.rows import OURS, Row, peak, show
from benchmarks.systems import System
from energynets.seeded import Seeded
from energynets.solvers import matting, nested_dissection, random_walker

METHODS = ("direct", "iterative", "splu")
SOLVERS = {
    "random walker": (random_walker, {"beta": 1000.0}, 1, 40),
    "matting": (matting, {"epsilon": 1e-5, "seed_weight": 100.0}, 2, 300),
}


def fits(problem: str, method: str, size: int, gib: float) -> bool:
    _, _, radius, entries = SOLVERS[problem]
    if method == "splu":
        need = entries * 12 * size**2 * math.log2(size)
    else:
        need = 3 * 4 * nested_dissection.numbers((size, size), radius) * (method == "direct")
    return need <= gib * 2**30


def measure(problem: str, method: str, size: int, repeats: int) -> dict[str, Any]:
    """Seconds, memory, steps; in a process of its own."""
    module, weights, _, _ = SOLVERS[problem]
    dtype = np.float64 if method == "splu" else np.float32
    with jax.enable_x64(method == "splu"):
        picture = next(iter(photographs(size, None, 1).values()))
        inputs = Seeded(jnp.asarray(picture, dtype), jnp.asarray(strokes(size), dtype))
        note = ""
        if method == "splu":
            seeds = np.asarray(inputs.seeds)
            rhs = seeds if problem == "random walker" else 100 * seeds[..., 1]
            call = System(module.stencil(inputs, **weights), rhs).splu
        else:
            options = {"tol": 1e-3} if method == "iterative" else {}
            program = (
                jax.jit(lambda inputs: module.solve(inputs, **weights, **options, method=method))
                .lower(inputs)
                .compile()
            )

            def call():
                return jax.block_until_ready(program(inputs))

        found, seconds, cpu = [], [], []
        memory = peak(lambda: found.append(call()))
        for _ in range(repeats):
            start, busy = time.perf_counter(), time.process_time()
            call()
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - busy)
        if method != "splu":
            solution = found[0]
            note = f"{int(solution.steps.max())} steps, converged {bool(solution.converged.all())}"
    return {
        "seconds": statistics.median(seconds),
        "cpu": statistics.median(cpu),
        "memory": memory,
        "note": note,
    }


def rows(
    *,
    sizes: tuple[int, ...] = (128, 256, 512, 1024, 2048),
    problems: tuple[str, ...] = tuple(SOLVERS),
    gib: float | None = None,
    repeats: int = 3,
) -> Iterator[Row]:
    gib = gib or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 * 2 / 3
    for problem in problems:
        for method in METHODS:
            before: Row = {}
            for size in sizes:
                if not fits(problem, method, size, gib):
                    continue
                row = {
                    "comparison": f"growth, {problem}",
                    "case": f"{size}²",
                    "method": method if method == "splu" else f"{OURS}, {method}",
                    "pixels": size**2,
                }
                try:
                    row |= child.run(
                        "benchmarks.growth:measure",
                        timeout=1200,
                        **{"problem": problem, "method": method, "size": size, "repeats": repeats},
                    )
                except child.Failed as failure:
                    yield row | {"note": f"failed: {failure}"}
                    continue
                if before:
                    row["note"] = "; ".join(filter(None, [row["note"], _exponents(before, row)]))
                before = row
                yield row


def _exponents(before: Row, row: Row) -> str:
    grown = math.log(row["pixels"] / before["pixels"])
    told = {"CPU time": "cpu", "memory": "memory"}
    return ", ".join(
        f"{name} ~ N^{math.log(row[key] / before[key]) / grown:.2f}"
        for name, key in told.items()
        if row.get(key) and before.get(key)
    )


def quick() -> Iterator[Row]:
    return rows(sizes=(12, 16), problems=("random walker",), repeats=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Growth of time and memory.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--problems", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--gib", type=float, help="two thirds of the machine's by default")
    parser.add_argument("--repeats", type=int, default=3)
    given = vars(parser.parse_args())
    show(rows(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}))


if __name__ == "__main__":
    main()

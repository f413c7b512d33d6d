"""The iterative solver on large pictures: time, steps, residual and peak memory.

python -m benchmarks.large [--heights 750 1500 3000] [--problems random_walker matting]

Pictures are 4:3, an enlarged photograph of scikit-image with the detail of another one and with
noise, so that they are not smooth. Each row is a process of its own, whose peak resident memory is
measured and includes that of importing JAX and of compiling. The second number of memory is what
grows with the picture, in bytes a pixel and label, against the row before it of the same problem.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
import skimage.data
from rich.console import Console
from rich.table import Table

from energynets.energies import matting as matting_energy
from energynets.energies import random_walker as walker_energy
from energynets.seeded import Seeded
from energynets.solvers import iterative, matting, multigrid, random_walker, stencil

PROBLEMS = ("random_walker", "matting")


def picture(height: int, width: int) -> np.ndarray:
    """H×W×3 in [0, 1], float32."""
    rng = np.random.default_rng(0)
    large = np.empty((height, width, 3), np.float32)
    detail = skimage.data.coffee()
    for channel in range(3):
        plane = skimage.data.astronaut()[..., channel].astype(np.float32) / 255
        plane = scipy.ndimage.zoom(plane, (height / 512, width / 512), order=1)[:height, :width]
        fine = detail[..., channel].astype(np.float32) / 255
        fine = np.tile(fine, (-(-height // 400), -(-width // 600)))[:height, :width]
        large[..., channel] = 0.7 * plane + 0.25 * fine
        large[..., channel] += 0.02 * rng.standard_normal((height, width), np.float32)
    return np.clip(large, 0, 1)


def seeds(height: int, width: int) -> np.ndarray:
    """A broad stroke for each of two labels."""
    planes = np.zeros((height, width, 2), np.float32)
    thick = max(height // 100, 1)
    planes[height // 4 : height // 4 + thick, width // 4 : width // 2, 0] = 1
    planes[height // 2 : height // 2 + thick, width // 2 : 3 * width // 4, 1] = 1
    return planes


@jax.jit
def walk(inputs: Seeded, tol: Any) -> iterative.Result:
    """Random walker at β = 1000, both labels at once."""
    matrix = random_walker.stencil(inputs)
    gradient = jax.grad(lambda y: walker_energy.energy(inputs, y))
    return _solve(gradient, inputs.seeds, matrix, None, tol)


@jax.jit
def matte(inputs: Seeded, tol: Any) -> iterative.Result:
    """Matting at ε = 1e-5 and λ = 100."""
    weights = {"epsilon": 1e-5, "seed_weight": 100.0}
    matrix = matting.stencil(inputs, **weights)
    gradient = jax.grad(lambda alpha: matting_energy.energy(inputs, alpha, **weights))
    ones = jnp.ones_like(inputs.image[..., 0])[None]
    spanned = jnp.concatenate([ones, jnp.moveaxis(inputs.image, -1, 0)])
    return _solve(gradient, inputs.seeds[..., 1], matrix, spanned, tol)


def _solve(gradient, like, matrix, spanned, tol) -> iterative.Result:
    # Kept from the compiler, which would differentiate at a picture of zeros itself.
    nothing = jax.lax.optimization_barrier(jnp.zeros_like(like))
    return iterative.conjugate_gradients(
        lambda u: jax.jvp(gradient, (nothing,), (u,))[1] / 2,
        -gradient(nothing) / 2,
        precondition=multigrid.preconditioner(matrix, spanned),
        diagonal=stencil.diagonal(matrix),
        tol=tol,
        max_steps=200,
    )


def row(problem: str, height: int, tol: float) -> dict[str, Any]:
    """One solution in this process."""
    width = height * 4 // 3
    inputs = Seeded(jnp.asarray(picture(height, width)), jnp.asarray(seeds(height, width)))
    solve = {"random_walker": walk, "matting": matte}[problem]
    wall, busy = time.perf_counter(), time.process_time()
    compiled = solve.lower(inputs, tol).compile()
    compiling = time.perf_counter() - wall, time.process_time() - busy
    wall, busy = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(compiled(inputs, tol))
    return {
        "problem": problem,
        "height": height,
        "width": width,
        "labels": inputs.seeds.shape[-1] if problem == "random_walker" else 1,
        "tol": tol,
        "steps": int(result.steps.max()),
        "residual": float(result.residual.max()),
        "movement": float(result.movement.max()),
        "converged": bool(result.converged.all()),
        "seconds": time.perf_counter() - wall,
        "CPU seconds": time.process_time() - busy,
        "compiling, CPU seconds": compiling[1],
        "peak GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "load": os.getloadavg()[0],
    }


def rows(
    heights: tuple[int, ...] = (750, 1500, 3000),
    problems: tuple[str, ...] = PROBLEMS,
    tol: float = 1e-3,
) -> list[dict[str, Any]]:
    """A process for each, in turn."""
    found = []
    for problem in problems:
        for height in heights:
            arguments = ("--one", problem, str(height), str(tol))
            command = [sys.executable, "-m", "benchmarks.large", *arguments]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def quick() -> list[dict[str, Any]]:
    return rows(heights=(48,))


def main() -> None:
    parser = argparse.ArgumentParser(description="The iterative solver on large pictures.")
    parser.add_argument("--heights", type=int, nargs="+", default=[750, 1500, 3000])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        problem, height, tol = arguments.one
        print(json.dumps(row(problem, int(height), float(tol))), flush=True)
        return
    table = Table(title="Iterative solver, float32")
    found = rows(tuple(arguments.heights), tuple(arguments.problems), arguments.tol)
    for name in (*found[0], "bytes a pixel and label"):
        table.add_column(name, justify="right")
    before: dict[str, Any] = {}
    for one in found:
        growth = ""
        if before.get("problem") == one["problem"]:
            pixels = one["height"] * one["width"] - before["height"] * before["width"]
            growth = (
                f"{(one['peak GiB'] - before['peak GiB']) * 2**30 / pixels / one['labels']:.0f}"
            )
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in one.values())
        table.add_row(*cells, growth)
        before = one
    Console(width=max(180, Console().width)).print(table)


if __name__ == "__main__":
    main()

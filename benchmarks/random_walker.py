"""Exact random-walker probabilities: ours against SciPy's, CHOLMOD's and scikit-image's.

python -m benchmarks.random_walker [--sizes 128 512] [--betas 100 1000] [--repeats 3]
    [--batch 16] [--root FOLDER]

Two labels, one stroke each, λ = 1, edge weights with a floor of 1e-6, float64, tolerance 1e-7.
All take turns in one process. SciPy and CHOLMOD factor and solve a matrix that is built beforehand;
ours begins with the picture, so that its time has the edge weights within, but not the
compilation, which is stated in the note. "error" is the largest difference from SuperLU refined in
extended precision. "MB" of ours is what XLA sets aside, that of splu its factors.

scikit-image holds seeds fixed and has a floor of 1e-10, so that its system is another one. Its β is
scaled to give our weights, and the errors of its iterative modes are those against its own "bf".
They run at the first tolerance of 1e-3, 1e-5, … 1e-13 that brings them within 1e-6 of it, or at the
first one that takes a minute, or at the last; the note says which. It builds its matrix within the
time, and is asked about the first picture alone.

A batch is one program, against a loop over splu: each core is a device of its own
(`--xla_force_host_platform_device_count`) and takes picture after picture of its share
(`jax.lax.map`: what a picture needs then stays in the cache); or one device takes all of them so,
or together (`vmap`).
"""

import argparse
import functools
import math
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from skimage.segmentation import random_walker as scikit_random_walker

from benchmarks import child
from benchmarks.pictures import photographs, strokes
from benchmarks.rows import OURS, Kept, Row, alternate, installed, missing, show
from benchmarks.systems import System, direct, told
from energynets.seeded import Seeded
from energynets.solvers.random_walker import solve, stencil

FLOOR, TOLERANCE, WANTED = 1e-6, 1e-7, 1e-6


def system(inputs: Seeded, beta: float) -> System:
    return System(stencil(inputs, beta=beta, floor=FLOOR), np.asarray(inputs.seeds))


def walk(inputs: Seeded, beta):
    return solve(inputs, beta=beta, floor=FLOOR, tol=TOLERANCE)


def one_by_one(inputs: Seeded, beta):
    return jax.lax.map(lambda one: walk(one, beta), inputs)


def on_every_device(inputs: Seeded, beta):
    mesh = jax.make_mesh((len(jax.devices()),), ("batch",))
    share, whole = PartitionSpec("batch"), PartitionSpec()
    # What a loop starts from is the same on all devices, which the check does not expect.
    return jax.shard_map(
        one_by_one, mesh=mesh, in_specs=(share, whole), out_specs=share, check_vma=False
    )(inputs, beta)


def compiled(inputs: Seeded, function=walk):
    """The function of (inputs, beta), and the seconds of processor time that compiling it took."""
    start = time.process_time()
    program = jax.jit(function).lower(inputs, jnp.asarray(1.0, inputs.image.dtype)).compile()
    return program, time.process_time() - start


def _error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(np.asarray(found).reshape(truth.shape) - truth).max())


def single(
    size: int, betas: tuple[float, ...], repeats: int, root: Path | None, modes: tuple[str, ...]
) -> Iterator[Row]:
    seeds = jnp.asarray(strokes(size))
    program, compiling = None, 0.0
    pictures = photographs(size, root, 2)
    first = next(iter(pictures))  # scikit-image takes minutes
    for name, picture in pictures.items():
        inputs = Seeded(jnp.asarray(picture), seeds)
        if program is None:
            program, compiling = compiled(inputs)
        for beta in betas:
            about = {
                "comparison": "random walker",
                "case": f"{name} {size}², β = {beta:g}",
                "pixels": size**2,
            }
            problem = system(inputs, beta)

            def ours(inputs=inputs, beta=beta, program=program):
                return jax.block_until_ready(program(inputs, beta))

            calls = {OURS: Kept(ours)} | {w: Kept(c) for w, c in direct(problem).items()}
            taken = alternate(calls, repeats)
            truth = problem.refined()
            for method, times in taken.items():
                row = about | {"method": method, **times}
                found = calls[method].result
                if method == OURS:
                    note = f"compiled in {compiling:.0f} s of CPU"
                    row, found = row | told(found, program, note), found.value
                row["error"] = _error(found, truth)
                if method == "splu":
                    row["memory"] = problem.fill()
                yield row
            if "CHOLMOD" not in taken:
                yield missing("random walker", about["case"], "CHOLMOD", "cvxopt")
            if name == first:
                yield from _scikit(inputs, beta, ours, about, modes)


def _scikit(inputs: Seeded, beta: float, ours, about: Row, modes: tuple[str, ...]) -> Iterator[Row]:
    picture = np.asarray(inputs.image, np.float64)
    labels = (np.asarray(inputs.seeds) * (1, 2)).sum(-1).astype(int)
    scaled = beta * 10 * picture.std() * np.sqrt(picture.shape[-1])

    def walk(mode: str, tol: float = 1e-3) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # says where its iterations do not converge
            return scikit_random_walker(
                picture,
                labels,
                beta=scaled,
                mode=mode,
                tol=tol,
                return_full_prob=True,
                channel_axis=-1,
            )

    truth = None
    for mode in modes:
        method = f"scikit-image {mode}"
        if mode == "cg_mg" and not installed("pyamg"):
            yield missing(about["comparison"], about["case"], method, "pyamg")
            continue
        if mode == "bf":
            call = Kept(lambda: walk("bf"))
            times = alternate({OURS: ours, method: call}, 1, slow=(method,))[method]
            truth = call.result
            yield about | {"method": method, **times, "note": "its own weights, the reference"}
            continue
        truth = walk("bf") if truth is None else truth
        for tol in (1e-3, 1e-5, 1e-7, 1e-9, 1e-11, 1e-13):
            call = Kept(lambda mode=mode, tol=tol: walk(mode, tol))
            times = alternate({OURS: ours, method: call}, 1, slow=(method,))[method]
            error = _error(call.result, truth)
            if tol == 1e-3:
                default = error
            if error <= WANTED or times["seconds"] > 60:
                break
        note = f"tol {tol:.0e}; by default its error is {default:.0e}"
        yield about | {"method": method, **times, "error": error, "note": note}


def batch(
    size: int, count: int, betas: list[float], repeats: int, root: str | None
) -> list[dict[str, Any]]:
    """`count` crops, shared among the devices; in a process of its own."""
    with jax.enable_x64(True):
        return list(_batch(size, count, betas, repeats, root))


def _batch(size: int, count: int, betas: list[float], repeats: int, root: str | None):
    large = photographs(2 * size, root, 4)
    crops = []
    for number in range(count):
        picture = list(large.values())[number % len(large)]
        row, column = divmod(number // len(large) % 4, 2)
        crops.append(picture[row * size :, column * size :][:size, :size])
    seeds = np.broadcast_to(strokes(size), (count, size, size, 2))
    inputs = Seeded(jnp.asarray(np.stack(crops)), jnp.asarray(seeds))
    devices = len(jax.devices())
    mesh = jax.make_mesh((devices,), ("batch",))
    shared = jax.device_put(inputs, NamedSharding(mesh, PartitionSpec("batch")))
    ways = {
        OURS: (on_every_device, shared),
        f"{OURS}, on one device": (one_by_one, inputs),
        f"{OURS}, under vmap": (jax.vmap(walk, (0, None)), inputs),
    }
    programs = {method: (*compiled(of, way), of) for method, (way, of) in ways.items()}
    for beta in betas:
        problems = [system(Seeded(*pair), beta) for pair in zip(*inputs, strict=True)]

        def call(program, of, beta=beta):
            return Kept(lambda: jax.block_until_ready(program(of, beta)))

        calls = {method: call(program, of) for method, (program, _, of) in programs.items()}
        loop = functools.partial(map, System.splu, problems)
        calls["splu, a loop"] = Kept(lambda loop=loop: np.stack(list(loop())))
        truth = np.stack([problem.refined() for problem in problems])
        about = {"comparison": "random walker, batch", "case": f"{count}×{size}², β = {beta:g}"}
        for method, times in alternate(calls, repeats).items():
            found = calls[method].result
            row = about | {"method": method, **times}
            if method in programs:
                program, compiling, _ = programs[method]
                note = f"compiled in {compiling:.0f} s of CPU"
                note += f", {devices} devices" if method == OURS else ""
                row, found = row | told(found, program, note), found.value
            yield row | {"error": _error(found, truth)}


def rows(
    *,
    sizes: tuple[int, ...] = (128, 512),
    betas: tuple[float, ...] = (100.0, 1000.0),
    repeats: int = 3,
    count: int = 16,
    side: int = 128,
    root: Path | None = None,
    modes: tuple[str, ...] = ("bf", "cg_j", "cg_mg"),
) -> Iterator[Row]:
    """Single pictures of each size, then the batch."""
    with jax.enable_x64(True):
        for size in sizes:
            yield from single(size, betas, repeats, root, modes)
    cores = f"--xla_force_host_platform_device_count={math.gcd(count, os.cpu_count() or 1)}"
    yield from child.run(
        "benchmarks.random_walker:batch",
        timeout=1800,
        environment={"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {cores}".strip()},
        size=side,
        count=count,
        betas=betas,
        repeats=3 * repeats,
        root=root and str(root),
    )


def quick() -> Iterator[Row]:
    return rows(sizes=(16,), betas=(100.0,), repeats=1, count=2, side=16)


def main() -> None:
    parser = argparse.ArgumentParser(description="The exact random walker against peers.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--betas", type=float, nargs="+", default=[100.0, 1000.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16, dest="count")
    parser.add_argument("--root", type=Path, help="photographs in place of scikit-image's")
    parser.add_argument("--modes", nargs="*", default=["bf", "cg_j", "cg_mg"])
    given = vars(parser.parse_args())
    show(rows(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}))


if __name__ == "__main__":
    main()

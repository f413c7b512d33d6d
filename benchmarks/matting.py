"""Exact mattes: ours against PyMatting and SuperLU.

python -m benchmarks.matting [--sizes 128 512] [--repeats 3] [--root FOLDER]

Closed-form matting at an ε of 1e-5/9 and of 1e-7, which is PyMatting's default, and λ = 100, with
one stroke each and with a trimap whose band is a fifteenth of the side wide; float64, tolerance
1e-6. All begin with the picture and end with α clipped to [0, 1]; compiling, numba's too,
is not within. "error" is the largest difference from the exact solution of the method's own
system, by SuperLU refined in extended precision: λ = 100 for ours, splu and "PyMatting, λ = 100"
(its Laplacian, its incomplete Cholesky factor, its conjugate gradients), and seeds held fixed for
"PyMatting", which is `estimate_alpha_cf` with all its defaults and drops what is known from its
system, hence a small one where a trimap leaves little unknown; its error is measured up to 256².
"MB" of ours is what XLA sets aside, that of splu its factors. PyMatting and splu run once a case,
between two turns of ours.
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.pictures import band, photographs, strokes
from benchmarks.rows import OURS, Kept, Row, alternate, installed, missing, show
from benchmarks.systems import System, factored, told
from energynets.seeded import Seeded
from energynets.solvers.matting import solve, stencil

LAMBDA, TOLERANCE = 100.0, 1e-6
# Pixels up to which the system of PyMatting's own is solved exactly as well, which takes minutes.
_CHECKED = 2**16
EPSILONS = {"1e-5/9": 1e-5 / 9, "1e-7": 1e-7}


@jax.jit
def _matte(inputs: Seeded, epsilon):
    return solve(inputs, epsilon=epsilon, seed_weight=LAMBDA, tol=TOLERANCE)


def _pymatting(inputs: Seeded, epsilon: float):
    """name -> (call, call for the exact solution of its system)."""
    import pymatting

    picture, seeds = np.array(inputs.image), np.asarray(inputs.seeds)  # numba wants to own
    trimap = np.where(seeds[..., 1] > 0, 1.0, np.where(seeds[..., 0] > 0, 0.0, 0.5))
    known = (trimap != 0.5).ravel()

    def published() -> np.ndarray:
        return pymatting.estimate_alpha_cf(picture, trimap, laplacian_kwargs={"epsilon": epsilon})

    def exactly() -> np.ndarray:
        laplacian = pymatting.cf_laplacian(picture, epsilon=epsilon).tocsr()[~known]
        free = laplacian[:, ~known].tocsc()
        lu = factored(free)
        rhs = -laplacian[:, known] @ trimap.ravel()[known]
        alpha, free_alpha = trimap.copy().ravel(), lu.solve(rhs)
        for _ in range(2):
            residual = rhs.astype(np.longdouble)
            residual -= _product(free, free_alpha)
            free_alpha = free_alpha + lu.solve(residual.astype(np.float64))
        alpha[~known] = free_alpha
        return alpha.clip(0, 1).reshape(trimap.shape)

    def as_a_weight() -> np.ndarray:
        matrix, rhs = pymatting.make_linear_system(
            pymatting.cf_laplacian(picture, epsilon=epsilon), trimap, LAMBDA
        )
        alpha = pymatting.cg(matrix, rhs, M=pymatting.ichol(matrix))
        return alpha.clip(0, 1).reshape(trimap.shape)

    return {"PyMatting": (published, exactly), f"PyMatting, λ = {LAMBDA:g}": (as_a_weight, None)}


def _product(matrix, vector: np.ndarray) -> np.ndarray:
    """matrix @ vector in extended precision."""
    coo = matrix.tocoo()
    total = np.zeros(vector.size, np.longdouble)
    np.add.at(total, coo.row, coo.data.astype(np.longdouble) * vector[coo.col])
    return total


def _case(inputs: Seeded, epsilon: float, about: Row, program, note: str, repeats: int):
    seeds = np.asarray(inputs.seeds)
    matrix = stencil(inputs, epsilon=epsilon, seed_weight=LAMBDA)
    problem = System(matrix, LAMBDA * seeds.sum(-1) * seeds[..., 1])
    ours = Kept(lambda: jax.block_until_ready(program(inputs, epsilon)))
    calls: dict[str, Kept] = {OURS: ours}
    exact = {}
    if installed("pymatting"):
        for method, (call, exactly) in _pymatting(inputs, epsilon).items():
            calls[method], exact[method] = Kept(call), exactly
    calls["splu"] = Kept(lambda: problem.splu().clip(0, 1))
    slow = tuple(method for method in calls if method != OURS)
    taken = alternate({OURS: ours}, repeats)
    for method in slow:
        taken[method] = alternate({OURS: ours, method: calls[method]}, 1, slow=(method,))[method]
    truth = problem.refined().clip(0, 1)
    for method, times in taken.items():
        row, found = about | {"method": method, **times}, calls[method].result
        if method == OURS:
            row, found = row | told(found, program, note), found.value
        if method == "splu":
            row["memory"] = problem.fill()
        goal = truth
        if exact.get(method):
            if math.prod(seeds.shape[:2]) > _CHECKED:
                yield row | {"note": "its error is not measured at this size"}
                continue
            goal = exact[method]()
        difference = np.abs(np.asarray(found) - goal)
        yield row | {"error": float(difference.max()), "mean error": float(difference.mean())}
    if not exact:
        yield missing(about["comparison"], about["case"], "PyMatting", "pymatting")


def rows(
    *,
    sizes: tuple[int, ...] = (128, 512),
    epsilons: tuple[str, ...] = ("1e-5/9", "1e-7"),
    repeats: int = 3,
    root: Path | None = None,
) -> Iterator[Row]:
    """Each size, ε and kind of seeds, on one photograph; on two at the smallest size."""
    with jax.enable_x64(True):
        for size in sizes:
            program, note = None, ""
            for name, picture in photographs(size, root, 2 if size == min(sizes) else 1).items():
                for kind, seeds in (("strokes", strokes(size)), ("band", band(picture))):
                    inputs = Seeded(jnp.asarray(picture), jnp.asarray(seeds))
                    if program is None:
                        start = time.process_time()
                        program = _matte.lower(inputs, jnp.asarray(1.0)).compile()
                        note = f"compiled in {time.process_time() - start:.0f} s of CPU"
                    for said in epsilons:
                        case = f"{name} {size}², {kind}, ε = {said}"
                        about = {"comparison": "matting", "case": case, "pixels": size**2}
                        yield from _case(inputs, EPSILONS[said], about, program, note, repeats)


def quick() -> Iterator[Row]:
    return rows(sizes=(16,), epsilons=("1e-5/9",), repeats=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Exact mattes against peers.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--epsilons", nargs="+", choices=EPSILONS, default=list(EPSILONS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--root", type=Path, help="photographs in place of scikit-image's")
    given = vars(parser.parse_args())
    show(rows(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}))


if __name__ == "__main__":
    main()

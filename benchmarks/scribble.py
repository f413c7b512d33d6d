"""One scribble more on the same picture: a factor that is kept and updated against a new one.

python -m benchmarks.scribble [--sizes 128 512] [--repeats 3] [--root FOLDER]

The stroke of a brush a hundredth of the side wide and a quarter of it long; each call paints it and
takes it away again, so that times are those of two changes, each solution starting from the one
before it. Random walker at β = 100 and 1000, mattes at an ε of 1e-7 and λ = 100; float64, tolerance
1e-7 and 1e-6. "ours" has everything that a user waits for: the new equations,
`nested_dissection.update` and `solve` with that factor; "a new factor" is `solve` without one, and
splu factors and solves a matrix that is built beforehand. "update" and "keep" are the equations and
factors alone; what `keep` holds is written beside the factor, and takes time as well. "error" is
the largest difference from SuperLU refined in extended precision; "MB" what the kept factor holds.
Programs are compiled for the first case of their shape.
"""

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.pictures import photographs, strokes
from benchmarks.rows import OURS, Kept, Row, alternate, show
from benchmarks.systems import System
from energynets.seeded import Seeded
from energynets.solvers import matting, nested_dissection, random_walker
from energynets.solvers.solution import Solution

LAMBDA = 100.0


def _problems(inputs: Seeded) -> Iterator[tuple[str, Callable, Callable, np.ndarray]]:
    """What to call it, its stencil and its solution for given inputs, its right-hand side."""
    seeds = np.asarray(inputs.seeds)
    for beta in (100.0, 1000.0):
        strengths = {"beta": beta, "floor": 1e-6}
        yield (
            f"random walker, β = {beta:g}",
            functools.partial(random_walker.stencil, **strengths),
            functools.partial(random_walker.solve, **strengths, tol=1e-7),
            seeds,
        )
    strengths = {"epsilon": 1e-7, "seed_weight": LAMBDA}
    yield (
        "matting, ε = 1e-7",
        functools.partial(matting.stencil, **strengths),
        functools.partial(matting.solve, **strengths, tol=1e-6),
        LAMBDA * seeds.sum(-1) * seeds[..., 1],
    )


def painted(seeds: np.ndarray) -> np.ndarray:
    """One stroke more, of the second label, across the middle column."""
    size = len(seeds)
    more = seeds.copy()
    here = (
        slice(2 * size // 5, 2 * size // 5 + max(size // 100, 1)),
        slice(size // 3, size // 3 + size // 4),
    )
    more[(*here, 1)] = 1
    return more


def rows(
    *, sizes: tuple[int, ...] = (128, 512), repeats: int = 3, root: Path | None = None
) -> Iterator[Row]:
    """On one photograph."""
    with jax.enable_x64(True):
        for size in sizes:
            name, picture = next(iter(photographs(size, root, 1).items()))
            before = strokes(size)
            pair = [
                Seeded(jnp.asarray(picture), jnp.asarray(seeds))
                for seeds in (before, painted(before))
            ]
            for said, equations, solve, rhs in _problems(pair[1]):
                about = {"comparison": "a scribble more", "case": f"{said}, {name} {size}²"}
                yield from _case(pair, jax.jit(equations), solve, rhs, about, repeats)


def _case(
    pair: list[Seeded], equations: Callable, solve: Callable, rhs: np.ndarray, about: Row,
    repeats: int,
) -> Iterator[Row]:  # fmt: skip
    start = time.process_time()
    kept = nested_dissection.keep(equations(pair[0]))
    value = solve(pair[0], factor=kept).value

    def paint(answer: Callable[[Seeded, jax.Array], Solution]) -> Solution:
        """The solution with the stroke, after which it is taken away again."""
        nonlocal value
        with_stroke = answer(pair[1], value)
        value = answer(pair[0], with_stroke.value).value
        return jax.block_until_ready((with_stroke, value))[0]

    def update(inputs: Seeded) -> nested_dissection.Factor:
        nonlocal kept
        kept = nested_dissection.update(kept, equations(inputs))
        return kept

    def splu() -> np.ndarray:
        problem.splu()
        return problem.splu()

    def twice(make: Callable[[Seeded], nested_dissection.Factor]) -> None:
        for inputs in reversed(pair):
            jax.block_until_ready(make(inputs))

    calls = {
        OURS: Kept(lambda: paint(lambda of, value: solve(of, factor=update(of), start=value))),
        "a new factor": Kept(lambda: paint(lambda of, value: solve(of, start=value))),
        "splu": Kept(splu),
        "update": lambda: twice(update),
        "keep": lambda: twice(lambda of: nested_dissection.keep(equations(of))),
    }
    calls[OURS]()
    compiling = time.process_time() - start
    problem = System(equations(pair[1]), rhs)
    truth = problem.refined().clip(0, 1)
    for method, times in alternate(calls, repeats, slow=("splu",)).items():
        row = about | {"method": method, **times}
        if method in (OURS, "a new factor"):
            found = calls[method].result
            told = f"{int(found.steps)} steps, converged {bool(found.converged)}"
            row["note"] = (
                f"{told}, compiled in {compiling:.0f} s of CPU" if method == OURS else told
            )
            row["error"] = float(np.abs(np.asarray(found.value) - truth).max())
        if method == "keep":
            row["memory"] = sum(leaf.nbytes for leaf in jax.tree.leaves(kept))
        yield row


def quick() -> Iterator[Row]:
    return rows(sizes=(20,), repeats=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="One scribble more, with a factor that is kept.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--root", type=Path, help="photographs in place of scikit-image's")
    given = vars(parser.parse_args())
    show(rows(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}))


if __name__ == "__main__":
    main()

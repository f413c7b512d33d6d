"""`energynets.segment`: labels spread from seeds by the random-walker energy."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from energynets.energies import random_walker
from energynets.interface import inputs
from energynets.interface.networks import Network, named, predicted
from energynets.interface.records import Segmentation, unbatched
from energynets.interface.resizing import enlarged, shrunk
from energynets.interface.solving import STEPS, Method, Task, gap, refuse_unknown, solve
from energynets.seeded import Seeded
from energynets.solvers import random_walker as solver
from energynets.solvers.coarse_to_fine import Problem


def segment(
    image: Any,
    seeds: Any,
    *,
    method: Method = "exact",
    steps: int = STEPS,
    beta: float = 1000.0,
    seed_weight: float = 1.0,
    floor: float = 1e-6,
    network: str | Path | Network | None = None,
    start: Any = None,
    optimality: bool = False,
) -> Segmentation:
    """The most probable label of each pixel, from labels known at some.

    Minimises `energies.random_walker.energy`, whose weights beta, seed_weight and floor are.

    Args:
        image: H×W, H×W×C, B×H×W×C or a list; see `interface.inputs.pictures`.
        seeds: a map of labels, 255 for none, or planes; see `interface.inputs.seeds`.
        method: "exact", "network" or "polish"; see `interface.solving.solve`.
        steps: of polish.
        network: weights by name or file, or a function of a batch of pictures and one of seeds;
            the shipped ones if None.
        start: probabilities (B×)H×W×K for polish to begin with, such as those of the frame before.
        optimality: solve exactly as well, and tell the `gap`.

    Raises:
        BadInputError: in one line, for whatever cannot be used.
    """
    refuse_unknown(method, steps)
    weights = {
        "beta": inputs.number("beta", beta, 0, 1e12),
        "seed_weight": inputs.number("seed_weight", seed_weight, 0, 1e12),
        "floor": inputs.number("floor", floor, 0, 1e12),
    }
    pictures = inputs.pictures(image)
    given = inputs.seeds(seeds, pictures)
    net = None if method == "exact" else named(network, "seeded_seg")
    begin = None
    if start is not None:
        begin = inputs.start(start, given.planes.shape, "probabilities")
    records = []
    for index, (picture, planes) in enumerate(zip(pictures.values, given.planes, strict=True)):
        task = _task(picture, planes, weights, net)
        problem = Seeded(jnp.asarray(picture), jnp.asarray(planes))

        def measured(answer, problem=problem):
            y = probabilities(answer.value)
            return y, float(random_walker.energy(problem, jnp.asarray(y), **weights))

        answer = solve(task, method, steps, None if begin is None else begin[index])
        y, energy = measured(answer)
        above = None
        if optimality:
            above = gap(energy, measured(solve(task, "exact", steps))[1])
        labels = given.labels[y.argmax(-1)]
        records.append(
            Segmentation(
                labels,
                y,
                given.labels,
                energy,
                answer.residual,
                answer.converged,
                answer.steps,
                above,
            )
        )
    return unbatched(records, pictures.one)


def probabilities(value: np.ndarray) -> np.ndarray:
    """Clipped to [0, 1] and divided by their sum; all alike where nothing is left."""
    positive = np.clip(value, 0, 1)
    total = positive.sum(-1, keepdims=True)
    reached = total > np.finfo(np.float32).eps
    y = np.where(reached, positive / np.where(reached, total, 1), 1 / value.shape[-1])
    return y.astype(np.float32)


def _task(
    picture: np.ndarray, planes: np.ndarray, weights: dict[str, float], network: Network | None
) -> Task:
    shape = picture.shape[:2]

    def problem(size: tuple[int, int]) -> Problem:
        area = shape[0] * shape[1] / (size[0] * size[1])
        small = Seeded(
            jnp.asarray(shrunk(picture, size)),
            # As many seeds as the small pixel holds: so the data term keeps its weight.
            jnp.asarray(area * shrunk(planes, size)),
        )
        return Problem(solver.stencil(small, **weights), weights["seed_weight"] * small.seeds)

    def direct():
        return solver.solve(Seeded(jnp.asarray(picture), jnp.asarray(planes)), **weights)

    def predict() -> np.ndarray:
        assert network is not None
        # At full size: from there on steps are few, and sizes between would take longer.
        return enlarged(predicted(network, picture, planes), shape)

    cold = np.zeros(planes.shape, np.float32)
    return Task(shape, problem, direct, None if network is None else predict, cold=cold)

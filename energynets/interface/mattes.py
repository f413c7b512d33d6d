"""`energynets.matte`: the foreground's share of each pixel by the matting energy."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energynets.data import trimaps
from energynets.energies import matting
from energynets.interface import inputs
from energynets.interface.networks import Network, named, predicted
from energynets.interface.records import Matte, unbatched
from energynets.interface.resizing import shrunk
from energynets.interface.solving import STEPS, Answer, Method, Task, gap, refuse_unknown, solve
from energynets.ops import ridge
from energynets.seeded import Seeded
from energynets.solvers import matting as solver
from energynets.solvers.coarse_to_fine import Problem, Size


def matte(
    image: Any,
    trimap: Any,
    *,
    method: Method = "exact",
    steps: int = STEPS,
    epsilon: float = 1e-5,
    seed_weight: float = 1.0,
    network: str | Path | Network | None = None,
    start: Any = None,
    optimality: bool = False,
) -> Matte:
    """Alpha in [0, 1] from a trimap or from scribbles, which are a trimap of few known pixels.

    Minimises `energies.matting.energy` over 3×3 windows, and clips. Where nothing is unknown the
    trimap itself is alpha.

    Args:
        image: H×W, H×W×C, B×H×W×C or a list; see `interface.inputs.pictures`.
        trimap: 0, 255 and anything between; see `interface.inputs.trimap`.
        method: "exact", "network" or "polish"; see `interface.solving.solve`.
        steps: of polish.
        epsilon, seed_weight: of the energy.
        network: weights by name or file, or a function of a batch of pictures and one of seeds
            (background and foreground) that gives alpha last; the shipped ones if None.
        start: alpha (B×)H×W for polish to begin with, such as that of the frame before.
        optimality: solve exactly as well, and tell the `gap`.

    Raises:
        BadInputError: in one line, for whatever cannot be used; a trimap without foreground or
            background among it.
    """
    refuse_unknown(method, steps)
    weights = {
        "epsilon": inputs.number("epsilon", epsilon, 1e-12, 1e12),
        "seed_weight": inputs.number("seed_weight", seed_weight, 1e-12, 1e12),
    }
    pictures = inputs.pictures(image)
    levels = inputs.trimap(trimap, pictures)
    net = None if method == "exact" else named(network, "matting")
    begin = None
    if start is not None:
        begin = inputs.start(start, levels.shape, "alpha")[..., None]
    records = []
    for index, (picture, level) in enumerate(zip(pictures.values, levels, strict=True)):
        planes = trimaps.planes(level)
        problem = Seeded(jnp.asarray(picture), jnp.asarray(planes))

        def energy_of(answer: Answer, problem=problem) -> float:
            value = jnp.asarray(answer.value[..., 0])
            return float(matting.energy(problem, value, **weights))

        if (level != trimaps.UNKNOWN).all():
            answer = Answer(planes[..., 1:], 0.0, True, 0)
        else:
            task = _task(picture, planes, weights, net)
            answer = solve(task, method, steps, None if begin is None else begin[index])
        energy = energy_of(answer)
        alpha = np.clip(answer.value[..., 0], 0, 1).astype(np.float32)
        above = None
        if optimality:
            least = solve(_task(picture, planes, weights), "exact", steps)
            above = gap(energy, energy_of(least))
        records.append(Matte(alpha, energy, answer.residual, answer.converged, answer.steps, above))
    return unbatched(records, pictures.one)


BETWEEN = 100  # steps, which are cheap at those sizes: at 256×256 a sixth of those at 800×500

_drawn = jax.jit(ridge.drawn)


def _task(
    picture: np.ndarray,
    planes: np.ndarray,
    weights: dict[str, float],
    network: Network | None = None,
) -> Task:
    shape = picture.shape[:2]

    def problem(size: tuple[int, int]) -> Problem:
        area = shape[0] * shape[1] / (size[0] * size[1])
        small = Seeded(
            jnp.asarray(shrunk(picture, size)),
            # As many seeds as the small pixel holds: so the data term keeps its weight.
            jnp.asarray(area * shrunk(planes, size)),
        )
        rhs = weights["seed_weight"] * small.seeds[..., 1:]
        return Problem(solver.stencil(small, **weights), rhs)

    def enlarge(value: np.ndarray | jax.Array, size: Size) -> np.ndarray | jax.Array:
        """Drawn on the picture at that size, and what the trimap knows put in."""
        height, width = value.shape[:2]
        if (height, width) == size:
            return value
        small, large = (jnp.asarray(shrunk(picture, at)) for at in ((height, width), size))
        alpha = _drawn(jnp.asarray(value[..., 0]), small, large)
        known = shrunk(planes, size)
        return jnp.where(known.sum(-1) > 0.999, known[..., 1], alpha)[..., None]

    def predict() -> np.ndarray:
        assert network is not None
        return predicted(network, picture, planes)[..., -1:]  # of background and foreground

    net = None if network is None else predict
    return Task(shape, problem, None, net, enlarge, between=BETWEEN)

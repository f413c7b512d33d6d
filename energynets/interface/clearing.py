"""`energynets.dehaze`: a picture without its haze, by the dark channel prior."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from energynets.energies import dehazing
from energynets.energies.dehazing import Hazy
from energynets.errors import BadInputError
from energynets.interface import inputs
from energynets.interface.networks import Network, named, predicted
from energynets.interface.records import Dehazing, unbatched
from energynets.interface.resizing import shrunk
from energynets.interface.solving import STEPS, Answer, Method, Task, gap, refuse_unknown, solve
from energynets.metrics.restoration import stretch as stretched
from energynets.solvers import dehazing as solver
from energynets.solvers.coarse_to_fine import Problem

WAYS = ("brightest", "maximum", "mean")


def dehaze(
    image: Any,
    *,
    method: Method = "exact",
    steps: int = STEPS,
    airlight: Literal["brightest", "maximum", "mean"] | Any = "brightest",
    omega: float = 0.95,
    patch: int = 15,
    data_weight: float = 1e-4,
    epsilon: float = 1e-6,
    least: float = 0.1,
    stretch: bool = False,
    network: str | Path | Network | None = None,
    start: Any = None,
    optimality: bool = False,
) -> Dehazing:
    """The picture without haze, and its transmission, which minimises `energies.dehazing.energy`.

    Args:
        image: H×W, H×W×C, B×H×W×C or a list; see `interface.inputs.pictures`.
        method: "exact", "network" or "polish"; see `interface.solving.solve`.
        steps: of polish.
        airlight: how it is estimated, see `energies.dehazing.airlight`; or itself, one value in
            [0, 1] for each channel.
        omega: how much of the haze is taken away, in [0, 1].
        patch: side of the dark channel's patches in pixels, odd.
        data_weight, epsilon: of the energy.
        least: the transmission below which nothing is divided, in (0, 1].
        stretch: stretch the result's extremes to 0 and 1 instead of clipping it.
        network: weights by name or file, or a function of a batch of pictures that gives
            transmissions; the shipped ones if None.
        start: transmission (B×)H×W for polish to begin with, such as that of the frame before.
        optimality: solve exactly as well, and tell the `gap`.

    Raises:
        BadInputError: in one line, for whatever cannot be used.
    """
    refuse_unknown(method, steps)
    for name, number, low, high in (
        ("omega", omega, 0.0, 1.0),
        ("data_weight", data_weight, 1e-12, 1e12),
        ("epsilon", epsilon, 1e-12, 1e12),
        ("least", least, 1e-3, 1.0),
    ):
        if not low <= number <= high:
            raise BadInputError(f"{name}: wanted a number from {low:g} to {high:g}, got {number}")
    if isinstance(patch, bool) or patch != int(patch) or patch < 1 or patch % 2 == 0:
        raise BadInputError(f"patch: wanted an odd number of pixels, got {patch}")
    pictures = inputs.pictures(image)
    net = None if method == "exact" else named(network, "dehazing")
    begin = None
    if start is not None:
        begin = inputs.start(start, pictures.values.shape[:-1], "transmission")[..., None]
    weights = {"data_weight": data_weight, "epsilon": epsilon}
    records = []
    for index, picture in enumerate(pictures.values):
        hazy = jnp.asarray(picture)
        air = _airlight(hazy, airlight, int(patch) // 2)
        coarse = dehazing.coarse_transmission(hazy, air, omega=omega, radius=int(patch) // 2)
        problem = Hazy(hazy, coarse)

        def energy_of(answer: Answer, problem=problem) -> float:
            value = jnp.asarray(answer.value[..., 0])
            return float(dehazing.energy(problem, value, **weights))

        task = _task(picture, np.asarray(coarse), weights, net)
        answer = solve(task, method, steps, None if begin is None else begin[index])
        energy = energy_of(answer)
        transmission = np.clip(answer.value[..., 0], 0, 1).astype(np.float32)
        above = None
        if optimality:
            above = gap(energy, energy_of(solve(task, "exact", steps)))
        clear = np.asarray(dehazing.recovery(hazy, jnp.asarray(transmission), air, least=least))
        clear = stretched(clear) if stretch else np.clip(clear, 0, 1)
        records.append(
            Dehazing(
                clear.astype(np.float32),
                transmission,
                np.asarray(air, np.float32),
                energy,
                answer.residual,
                answer.converged,
                answer.steps,
                above,
            )
        )
    return unbatched(records, pictures.one)


def _airlight(image: jax.Array, wanted: Any, radius: int) -> jax.Array:
    if isinstance(wanted, str):
        if wanted not in WAYS:
            raise BadInputError(
                f"airlight: wanted {', '.join(WAYS)} or one value a channel, got {wanted!r}"
            )
        dark = dehazing.dark_channel(image, radius=radius)
        return dehazing.airlight(image, dark, way=wanted)
    air = np.asarray(wanted, np.float32)
    channels = image.shape[-1]
    if air.shape != (channels,) or not np.isfinite(air).all() or air.min() < 0 or air.max() > 1:
        raise BadInputError(
            f"airlight: wanted {channels} values in [0, 1], one a channel, got {wanted!r}"
        )
    return jnp.asarray(air)


def _task(
    picture: np.ndarray,
    coarse: np.ndarray,
    weights: dict[str, float],
    network: Network | None = None,
) -> Task:
    shape = picture.shape[:2]

    def problem(size: tuple[int, int]) -> Problem:
        # As many data terms as the small pixel stands for.
        weight = weights["data_weight"] * shape[0] * shape[1] / (size[0] * size[1])
        guess = jnp.asarray(shrunk(coarse[..., None], size))
        small = Hazy(jnp.asarray(shrunk(picture, size)), guess[..., 0])
        matrix = solver.stencil(small, data_weight=weight, epsilon=weights["epsilon"])
        return Problem(matrix, weight * guess)

    predict = None if network is None else partial(predicted, network, picture)
    return Task(shape, problem, None, predict)

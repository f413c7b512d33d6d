"""`energynets.dehaze`: a picture without its haze, by the dark channel prior."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from energynets.energies import dehazing
from energynets.energies.dehazing import Hazy
from energynets.errors import BadInputError
from energynets.interface import inputs
from energynets.interface.networks import SIDE, Network, named
from energynets.interface.records import Dehazing, unbatched
from energynets.interface.resizing import shrunk
from energynets.interface.solving import STEPS, Answer, Method, Task, gap, refuse_unknown, solve
from energynets.metrics.restoration import stretch as stretched
from energynets.ops import ridge
from energynets.solvers import dehazing as solver
from energynets.solvers.coarse_to_fine import Problem, Size

WAYS = ("brightest", "maximum", "mean")

# Pictures up to so many pixels are solved directly where steps do not suffice.
DIRECT_PIXELS = 256 * 256
# Of the fit by which an answer is drawn at a larger size: those of least energy on real haze.
DRAWN, WINDOW = 1e-4, 2
# Steps at each size before the full one, where they are cheap: with 20 the energy is a third higher
# after 50 steps at full size.
BETWEEN = 150


def dehaze(
    image: Any,
    *,
    method: Method = "exact",
    steps: int = STEPS,
    airlight: Literal["brightest", "maximum", "mean"] | Any = "brightest",
    omega: float = 0.9,
    excess: float = 0.5,
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
        omega: share of the veil before the whole picture that is taken away, in [0, 1].
        excess: share of what patches have beyond it, which may be haze or something bright, in
            [0, 1]; see `energies.dehazing.veil_transmission`. The papers' dark channel prior is
            omega=0.95 and excess=0.95: it darkens skies and white walls.
        patch: side of the dark channel's patches in pixels, odd.
        data_weight, epsilon: of the energy.
        least: the transmission below which nothing is divided, in (0, 1].
        stretch: stretch the result's extremes to 0 and 1 instead of clipping it.
        network: weights by name or file, or a function of a batch of pictures and of their
            coarse transmissions that gives transmissions; the shipped ones if None.
        start: transmission (B×)H×W for polish to begin with, such as that of the frame before.
        optimality: solve exactly as well, and tell the `gap`.

    Raises:
        BadInputError: in one line, for whatever cannot be used.
    """
    refuse_unknown(method, steps)
    for name, number, low, high in (
        ("omega", omega, 0.0, 1.0),
        ("excess", excess, 0.0, 1.0),
        ("data_weight", data_weight, 1e-12, 1e12),
        ("epsilon", epsilon, 1e-12, 1e12),
        ("least", least, 1e-3, 1.0),
    ):
        inputs.number(name, number, low, high)
    if inputs.number("patch", patch, 1, 1e9) % 2 != 1:
        raise BadInputError(f"patch: wanted an odd number of pixels, got {patch}")
    pictures = inputs.pictures(image)
    net = None if method == "exact" else named(network, "dehazing")
    if method == "polish" and network is None and pictures.values[0].shape[-1] not in (1, 3):
        net = None  # the shipped one cannot see such pictures, steps need none
    begin = None
    if start is not None:
        begin = inputs.start(start, pictures.values.shape[:-1], "transmission")[..., None]
    weights = {"data_weight": data_weight, "epsilon": epsilon}
    records = []
    for index, picture in enumerate(pictures.values):
        hazy = jnp.asarray(picture)
        air = _airlight(hazy, airlight, int(patch) // 2)
        coarse = dehazing.veil_transmission(
            hazy, air, omega=omega, excess=excess, radius=int(patch) // 2
        )
        problem = Hazy(hazy, coarse)

        def energy_of(answer: Answer, problem=problem) -> float:
            value = jnp.asarray(answer.value[..., 0])
            return float(dehazing.energy(problem, value, **weights))

        task = _task(picture, np.asarray(coarse), weights, net)
        answer = solve(task, method, steps, None if begin is None else begin[index])
        if method == "exact" and not answer.converged:
            answer = _insisted(problem, weights, answer)
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
    channels = image.shape[-1]
    try:
        air = np.asarray(wanted, np.float32)
    except (ValueError, TypeError):
        air = np.empty(0, np.float32)
    if air.shape != (channels,) or not np.isfinite(air).all() or air.min() < 0 or air.max() > 1:
        got = " ".join(repr(wanted).split())
        raise BadInputError(
            f"airlight: wanted {channels} values in [0, 1], one a channel, got {got:.60}"
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

    def enlarge(value: np.ndarray | jax.Array, size: Size) -> np.ndarray | jax.Array:
        """Drawn on the picture at that size."""
        height, width = value.shape[:2]
        if (height, width) == size:
            return value
        small, large = (jnp.asarray(shrunk(picture, at)) for at in ((height, width), size))
        return _drawn(jnp.asarray(value[..., 0]), small, large)[..., None]

    def predict() -> np.ndarray:
        assert network is not None
        return predicted(network, picture, coarse)[..., None]

    guess = None if network is None else predict
    return Task(shape, problem, None, guess, enlarge, between=BETWEEN)


_drawn = jax.jit(partial(ridge.drawn, radius=WINDOW, epsilon=DRAWN))


def predicted(
    network: Network, picture: Float[np.ndarray, "h w c"], coarse: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "m n"]:
    """The network's transmission at the size that it sees: the picture's, or `SIDE` × `SIDE`.

    Raises:
        BadInputError: if the picture has neither 1 nor 3 channels.
    """
    if picture.shape[-1] not in (1, 3):
        raise BadInputError(
            f"image: wanted 1 or 3 channels for the network, got {picture.shape[-1]}"
        )
    height, width = coarse.shape
    size = (height, width) if height * width <= SIDE**2 else (SIDE, SIDE)
    small = np.broadcast_to(shrunk(picture, size), (*size, 3))
    seen = small, shrunk(coarse[..., None], size)[..., 0]
    return np.asarray(network(*(jnp.asarray(a, jnp.float32)[None] for a in seen))[0])


def _insisted(problem: Hazy, weights: dict[str, float], answer: Answer) -> Answer:
    """`solvers.dehazing.solve`, where it fits and converges; else the answer that there is.

    Asked second, because its programs take some tens of seconds to compile for each size.
    """
    if problem.coarse.size > DIRECT_PIXELS:
        return answer
    found = solver.solve(problem, **weights)
    if not found.converged:
        return answer
    steps = answer.steps + int(found.steps)
    return Answer(np.asarray(found.value)[..., None], float(found.residual), True, steps)

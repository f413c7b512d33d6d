"""Dehazing by the energy of the dark channel prior, from hazy pictures alone.

    python -m experiments.dehazing --config=experiments/dehazing.py --workdir=runs/dehazing
    python -m experiments.dehazing --config=experiments/dehazing.py --workdir=runs/haze \
        --config.hazy.root=HAZE/real/images --config.report.root=HAZE/pairs \
        --config.data.source=folder --config.data.root=PICTURES

Variants: "full" (the default), "smoke" (seconds), "paper" (network, schedule, and coarse
transmission of the paper).
Clear pictures, from which haze is made up where real haze is too little (`hazy.made`), are never
seen by network or energy; those of pairs serve the report alone.
"""

import json
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

import energynets
from energynets import pretrained
from energynets.data import augment, haze, images, opening, order
from energynets.energies import dehazing
from energynets.energies.dehazing import Hazy
from energynets.errors import BadInputError
from energynets.interface.records import Dehazing
from energynets.metrics import restoration
from energynets.networks import build
from energynets.training import comparison, figures, loop, sources
from energynets.training.experiment import Config, Evaluation, Experiment, Loss, Tree, Variables
from energynets.training.main import run
from energynets.training.polishing import against_steps
from energynets.training.ranges import refuse_outside, refuse_too_small
from energynets.training.report import Report

METHODS = ("network", "polish", "exact")
PAPER = {"omega": 0.95, "excess": 0.95}
RESTORED = ("PSNR, raw", "SSIM, raw", "PSNR, stretched", "SSIM, stretched")
LIMITS = {
    (0, 1): ("hazy.made", "data.crop", "loss.omega", "loss.excess"),
    (1, inf): ("data.size", "data.validation_count", "report.longest", "report.polished"),
    (0, inf): (
        *("loss.data_weight", "report.data_weight", "loss.patch", "report.patch"),
        *("report.pictures", "report.count"),
    ),
}


def get_config(variant: str = "full") -> Config:
    config = ConfigDict()
    config.data = ConfigDict(  # clear pictures, on which haze is made up
        {
            **opening.DEFAULTS,
            "size": 128,
            "validation_count": 40,
            "crop": 0.5,  # least side of a random square, in shorter sides; 0: never crop
            "turns": True,  # by quarters
        }
    )
    config.hazy = ConfigDict(
        {
            "root": "",  # a folder of hazy photographs to learn from; "": none
            "made": 0.5,  # share of the examples with made-up haze; all of them without a root
        }
    )
    config.network = ConfigDict({**build.DEFAULTS, "head": "refinement", "trunk": "pyramid"})
    config.start_from = ""  # weights to begin with: a name of `pretrained`, or a .safetensors file
    config.loss = ConfigDict(
        {
            # At 128×128; there a pixel stands for some twenty of a photograph of 620×460.
            "data_weight": 2e-3,
            "epsilon": 1e-6,
            "omega": 0.9,  # share of the veil that is taken away
            "excess": 0.5,  # share of what is beyond the veil; as omega: the papers' rule
            "patch": 2,  # radius of the dark channel's patches, in pixels
            "airlight": "brightest",  # or maximum, mean
        }
    )
    config.train = loop.default_config()
    config.train.update({"steps": 5000, "batch": 8, "rate": 1e-3, "schedule": "cosine"})
    config.report = ConfigDict(
        {
            "root": "",  # pairs hazy/, clear/; "": made of validation pictures
            "count": 0,  # so many pictures; 0: all
            "longest": 620,  # what longer sides are reduced to
            "data_weight": 1e-4,  # of the energy at full size
            "patch": 7,  # radius of the patches there
            "steps": (0, 5, 20, 50),  # of polish, against which energy and error are told
            "polished": 2,  # pictures for that
            "pictures": 6,  # to draw
        }
    )
    if variant == "smoke":
        config.data.update({"size": 16, "validation_count": 2})
        config.network.widths = (8, 8)
        config.train.update({"steps": 4, "batch": 2, "epoch": 2, "save_every": 1, "log_every": 1})
        config.train.keep_every = 1
        config.report.update({"count": 2, "steps": (0, 2), "polished": 1})
    elif variant == "paper":
        config.network.update({"head": "transmission", "trunk": "dilated", "blocks": 6})
        config.loss.update({"data_weight": 1e-4, "omega": 0.95, "excess": 0.95, "patch": 7})
        config.train.update({"rate": 3e-4, "batch": 24, "schedule": "exponential"})
    elif variant != "full":
        raise BadInputError(f"variant: wanted full, smoke or paper, got {variant!r}")
    return config


def problem(loss: Config, image: Array) -> Hazy:
    """What energy and exact solver see of a picture: it and its coarse transmission."""
    dark = dehazing.dark_channel(image, radius=loss.patch)
    air = dehazing.airlight(image, dark, way=loss.airlight)
    coarse = dehazing.veil_transmission(
        image, air, omega=loss.omega, excess=loss.excess, radius=loss.patch
    )
    return Hazy(image, coarse)


def make(config: Config) -> Experiment:
    """The task as a record of pure functions."""
    refuse_outside(config, LIMITS)
    data, weights = config.data, config.loss
    if weights.airlight not in ("brightest", "maximum", "mean"):
        wanted = "brightest, maximum or mean"
        raise BadInputError(f"config.loss.airlight: wanted {wanted}, got {weights.airlight!r}")
    real = haze.Photographs(config.hazy.root) if config.hazy.root else None
    clear = sources.open_source(data, data.train, needs_seeds=False)
    held_out = haze.Made(sources.open_source(data, data.validation, needs_seeds=False))
    pairs: haze.HazySource = held_out
    if config.report.root:
        pairs = haze.Photographs(config.report.root, longest=config.report.longest)
    network = build.of(config.network, 1)
    refuse_too_small("data.size", data.size, network)
    start = pretrained.load(config.start_from) if config.start_from else None
    of_made = order.shuffled(len(clear), config.train.batch, seed=config.train.seed)
    of_real = order.shuffled(len(real or [0]), config.train.batch, seed=config.train.seed + 1)

    def example(step: int, row: int) -> np.ndarray:
        """Disk to array: read, haze, crop, flip, turn, shrink."""
        random = np.random.default_rng((config.train.seed, 1, step, row))
        if real is None or random.random() < config.hazy.made:
            image = haze.add_haze(clear[of_made(step, row)].image, random)
        else:
            image = real[of_real(step, row)].hazy
        if data.crop and random.random() < 0.5:
            image, _ = augment.crop(image, random=random, least=data.crop)
        image, _ = augment.flip_and_turn(image, random=random, turns=data.turns)
        return images.resize(np.ascontiguousarray(image), data.size)

    strengths = {"data_weight": weights.data_weight, "epsilon": weights.epsilon}
    energies = jax.vmap(partial(dehazing.energy, **strengths))
    problems = jax.vmap(partial(problem, weights))

    def fresh(key: Array) -> Variables:
        shape = (1, data.size, data.size)
        return network.init(key, jnp.zeros((*shape, 3)), jnp.zeros(shape), train=False)

    def loss(variables: Variables, image: Tree, key: Array) -> Loss:
        seen = problems(image)
        t, updates = network.apply(variables, *seen, train=True, mutable=["batch_stats"])
        values = energies(seen, t)
        return Loss(values, updates, {"energy": values, "transmission": t.mean((1, 2))})

    def predict(variables: Variables, image: Tree) -> dict[str, Array]:
        seen = problems(image)
        return {"loss": energies(seen, network.apply(variables, *seen, train=False))}

    count = min(data.validation_count, len(held_out))
    return Experiment(
        init=lambda key: fresh(key) if start is None else pretrained.fitting(start, fresh(key)),
        example=example,
        name=lambda step, row: f"step {step}, row {row}",
        loss=loss,
        validation=Evaluation(count, lambda i: images.resize(held_out[i].hazy, data.size)),
        predict=predict,
        report=lambda variables, workdir: report(config, network, variables, pairs, workdir),
    )


def scored(image: np.ndarray, pair: haze.Pair) -> dict[str, float]:
    """PSNR and SSIM of a result as it is (clipped) and of the whole result stretched."""
    scores = {}
    if pair.clear is not None:
        for way, shown in (("raw", image), ("stretched", restoration.stretch(image))):
            scores[f"PSNR, {way}"] = restoration.psnr(shown, pair.clear)
            scores[f"SSIM, {way}"] = restoration.ssim(shown, pair.clear)
    return scores


def report(
    config: Config, network: Any, variables: Variables, pairs: haze.HazySource, workdir: Path
) -> Report:
    """The network, polished and not, beside the exact minimiser, that of the paper's own energy,
    and the hazy picture itself, as it is and stretched."""
    loss, wanted = config.loss, config.report
    clear = partial(
        energynets.dehaze,
        network=jax.jit(partial(network.apply, variables, train=False)),
        data_weight=wanted.data_weight,
        epsilon=loss.epsilon,
        omega=loss.omega,
        excess=loss.excess,
        patch=2 * wanted.patch + 1,
        airlight=loss.airlight,
        steps=max(wanted.steps),
    )
    ways = {method: partial(clear, method=method) for method in METHODS}
    ways["exact, dark channel"] = partial(clear, method="exact", **PAPER)
    count = min(wanted.count or len(pairs), len(pairs))
    rows, labels = [], []

    def compare(index: int) -> comparison.Scores:
        pair = pairs[index]
        found = {name: way(pair.hazy) for name, way in ways.items()}
        measured: dict[str, dict[str, Any]] = {
            "hazy": scored(pair.hazy, pair),
            "hazy, stretched": scored(restoration.stretch(pair.hazy), pair),
        }
        for name, of in found.items():
            measured[name] = {"energy": of.energy, **scored(whole(pair, of), pair)}
            if name.startswith("exact"):
                measured[name]["unsolved"] = float(not of.converged)
        if index < wanted.pictures:
            truth = "no clear picture" if pair.clear is None else pair.clear
            maps = [found[m].transmission for m in ("network", "exact")]
            shown = [of.image for of in found.values()]
            rows.append([pair.hazy, restoration.stretch(pair.hazy), *shown, *maps, truth])
            labels.append(pair.name)
        return measured

    measured = comparison.over_pictures(count, compare)
    titles = ["hazy", "hazy, stretched", *ways, "t, network", "t, exact", "clear"]
    if rows:
        figures.draw_grid(workdir / "figures" / "pictures.png", titles, rows, labels)
        draw_strip(workdir, [pairs[i] for i in range(min(3, count))], clear)
    scores: dict[str, Any] = comparison.means(measured)
    columns = {name: name for name in (*RESTORED, "energy")}
    tables = [comparison.table("Scores", scores, columns)]

    def polished(start: str) -> Any:
        def measure(index: int, steps: int) -> dict[str, float]:
            pair = pairs[index]
            begin = cold_start(pair.hazy, loss, wanted.patch) if start == "coarse" else None
            of = clear(pair.hazy, method="polish", steps=steps, start=begin)
            return {"energy": float(of.energy), **scored(whole(pair, of), pair)}

        return measure

    of = min(wanted.polished, count)
    starts = {start: polished(start) for start in ("network", "coarse")}
    by_steps, times, table = against_steps(
        f"first {of} pictures", starts, steps=wanted.steps, count=of
    )
    picture = pairs[0].hazy
    calls = {
        name: ("float32", partial(way, picture)) for name, way in ways.items() if name in METHODS
    }
    of = f"one picture of {picture.shape[1]}×{picture.shape[0]}, airlight and all"
    timing, speed = comparison.timed(of, calls, against="network")
    notes = [
        f"{count} pictures at their own size; energies are means over pictures of tᵀLt + λ|t−t̃|², "
        f"λ = {wanted.data_weight:g}, ε = {loss.epsilon:g}; polish makes {max(wanted.steps)} "
        f"steps. t̃ = 1 − {loss.omega:g} v − {loss.excess:g} (d − v), d the dark channel and v its "
        f"lowest level; “dark channel”: t̃ = 1 − {PAPER['omega']:g} d, the paper's, whose energy is "
        "another and not to be compared.",
        "“raw” is the result clipped to [0, 1]; “stretched” is the whole result with its extremes "
        "brought to 0 and 1, to be read beside the hazy picture stretched and nothing else.",
        made_up(config),
        *comparison.unsolved_told(measured),
    ]
    pretrained.save(
        workdir / "weights.safetensors",
        variables,
        settings={**config.network.to_dict(), "classes": 1},
        about={"config": json.loads(config.to_json_best_effort()), "scores": scores},
    )
    scores = {**scores, "polish by steps": by_steps, "pictures": count}
    timing = {**timing, "polish": times}
    return Report("Dehazing", scores, timing, [*tables, table, speed], notes)


def whole(pair: haze.Pair, of: Dehazing) -> np.ndarray:
    """The result before the clip, as the authors stretch it."""
    return np.asarray(dehazing.recovery(pair.hazy, of.transmission, of.airlight))


def cold_start(image: np.ndarray, loss: Config, patch: int) -> np.ndarray:
    """The coarse transmission at full size, clipped."""
    at_full_size = loss.copy_and_resolve_references()
    at_full_size.patch = patch
    coarse = problem(at_full_size, jnp.asarray(image)).coarse
    return np.clip(np.asarray(coarse), 0, 1)


def made_up(config: Config) -> str:
    """What share of the pictures that were learnt from had made-up haze."""
    share = config.hazy.made if config.hazy.root else 1.0
    return (
        f"{share:.0%} of the training pictures, and all that were measured after each epoch, are "
        "clear ones with haze made by t J + (1 − t) A, t = exp(−β d), d being a smooth made-up "
        "depth."
    )


def draw_strip(workdir: Path, pairs: list[haze.Pair], clear: Any) -> None:
    """`figures/training_strip.png`: the same pictures by each kept checkpoint's network.

    Where to stop is the user's control: an earlier network leaves more haze.
    """
    kept = sorted(
        (p for p in (workdir / "checkpoints").glob("*") if p.name.isdigit()),
        key=lambda p: int(p.name),
    )
    if not kept:
        return
    kept = [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, 7).round().astype(int))]
    networks = [pretrained.load(folder) for folder in kept]
    rows = [
        [p.hazy, *(clear(p.hazy, method="network", network=n).image for n in networks)]
        for p in pairs
    ]
    titles = ["hazy", *(f"step {folder.name}" for folder in kept)]
    figures.draw_grid(workdir / "figures" / "training_strip.png", titles, rows)


if __name__ == "__main__":
    run(make)

"""Matting by the closed-form energy, from pictures and two-class scribbles alone.

    python -m experiments.matting --config=experiments/matting.py --workdir=runs/matting
    python -m experiments.matting --config=experiments/matting.py --workdir=runs/mattes \
        --config.data.source=folder --config.data.root=PICTURES \
        --config.report.root=ALPHAMATTING

Variants: "full" (the default), "smoke" (seconds), "paper" (the network and schedule of the paper).
Scribbles of many classes give one example for each class: its strokes against those of the others.
True mattes serve the report alone.
"""

import json
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

import energynets
from energynets import pretrained
from energynets.data import augment, images, mattes, opening, order, seeds
from energynets.data.source import Picture
from energynets.energies import matting
from energynets.errors import BadInputError
from energynets.interface.records import Matte
from energynets.metrics import matting as errors
from energynets.networks import build
from energynets.ops import ridge, windows
from energynets.seeded import Seeded
from energynets.training import comparison, figures, loop, sources
from energynets.training.experiment import Config, Evaluation, Experiment, Loss, Tree, Variables
from energynets.training.main import run
from energynets.training.polishing import against_steps
from energynets.training.ranges import refuse_outside, refuse_too_small
from energynets.training.report import Report

METHODS = ("network", "polish", "exact")
LIMITS = {
    (0, 1): ("data.crop", "data.hide", "data.hide_least"),
    (1, inf): ("data.size", "data.validation_count"),
    (0, inf): (
        "loss.seed_weight",
        "loss.radius",
        "report.pictures",
        "report.count",
        "report.steps",
    ),
}
LABELS = np.array([0, 1], np.int32)  # background, foreground


def get_config(variant: str = "full") -> Config:
    config = ConfigDict()
    config.data = ConfigDict(
        {
            **opening.DEFAULTS,
            "problems": "classes",  # two-class ones, one a seeded class
            "size": 128,
            "validation_count": 40,
            "crop": 0.6,  # least side of a random square, in shorter sides; 0: never crop
            "turns": True,  # by quarters
            "hide": 0.0,  # share of examples that show the network a part of the seeds only
            "hide_least": 0.2,  # least share of a side's seeds that is then shown
            "bands": (1, 2, 4, 8),  # of trimaps made of what `start_from` answers: pixels to
            # either side of its border that are unknown, one of these at random; (): strokes alone
        }
    )
    config.network = ConfigDict(build.DEFAULTS)
    config.start_from = (
        "seeded_seg"  # weights to begin with: a name of `pretrained`, or a .safetensors file
    )
    config.loss = ConfigDict({"epsilon": 1e-5, "seed_weight": 1.0})
    config.loss.radius = 2  # of the windows by which answers are drawn in training
    config.train = loop.default_config()
    config.train.update({"steps": 140, "batch": 8, "rate": 5e-4, "schedule": "cosine"})
    config.train.update({"clip": 100.0, "epoch": 20, "save_every": 20})
    config.report = ConfigDict(
        {
            "root": "",  # images/, trimaps…/, alphas/; "": embedded pictures
            "count": 0,  # so many pictures; 0: all
            "steps": (0, 5, 20, 50),  # of polish, against which energy and error are told
            "pictures": 6,  # to draw
        }
    )
    if variant == "smoke":
        config.data.update({"size": 16, "validation_count": 2})
        config.network.widths = (8, 8)
        config.start_from, config.data.bands = "", ()
        config.train.update({"steps": 4, "batch": 2, "epoch": 2, "save_every": 1, "log_every": 1})
        config.report.update({"count": 2, "steps": (0, 2)})
    elif variant == "paper":
        config.network.update({"head": "classes", "trunk": "dilated", "blocks": 6})
        config.network.padding = "reflect"
        config.start_from, config.data.bands = "", ()
        config.train.update({"rate": 1e-2, "batch": 10, "schedule": "sign_changes"})
    elif variant != "full":
        raise BadInputError(f"variant: wanted full, smoke or paper, got {variant!r}")
    return config


class Example(NamedTuple):
    """image: S×S×3 in [0, 1]. seeds, shown: S×S×2, background and foreground: all of them, for
    the energy, and those that the network sees."""

    image: Tree  # NumPy arrays on the host, JAX arrays in a batch
    seeds: Tree
    shown: Tree


def make(config: Config) -> Experiment:
    """The task as a record of pure functions."""
    refuse_outside(config, LIMITS)
    data, weights = config.data, config.loss
    if not 0 < weights.epsilon < inf:
        raise BadInputError(f"config.loss.epsilon: wanted above 0, got {weights.epsilon}")
    source = sources.open_source(data, data.train)
    held_out = sources.open_source(data, data.validation)
    measured: mattes.MatteSource = mattes.EmbeddedMattes()
    if config.report.root:
        measured = mattes.Mattes(config.report.root)
    network = build.of(config.network, 2)
    refuse_too_small("data.size", data.size, network)
    start = pretrained.load(config.start_from) if config.start_from else None
    if data.bands and (start is None or min(data.bands) < 1):
        raise BadInputError(
            "config.data.bands: wanted pixels, and a network in config.start_from that makes the "
            f"trimaps, got {data.bands} and {config.start_from!r}"
        )
    index_of = order.shuffled(len(source), config.train.batch, seed=config.train.seed)

    def example(step: int, row: int) -> Example:
        """Disk to arrays: read, crop, flip, turn, shrink, hide a part of the seeds."""
        random = np.random.default_rng((config.train.seed, 1, step, row))
        _, image, known = source[index_of(step, row)]
        if data.crop and random.random() < 0.5:
            cut = augment.crop(image, known, random=random, least=data.crop)
            if len(np.unique(cut[1][0])) > 2:  # both sides, beside the unseeded pixels
                image, (known,) = cut
        image, (known,) = augment.flip_and_turn(image, known, random=random, turns=data.turns)
        image, known = np.ascontiguousarray(image), np.ascontiguousarray(known)
        small = shown = seeds.shrink(known, data.size)
        if random.random() < data.hide:
            shown = seeds.hide(small, random, least=data.hide_least)
        planes = seeds.planes(small, LABELS), seeds.planes(shown, LABELS)
        return Example(images.resize(image, data.size), *planes)

    def whole(picture: Picture) -> Example:
        planes = seeds.planes(seeds.shrink(picture.seeds, data.size), LABELS)
        return Example(images.resize(picture.image, data.size), planes, planes)

    def energies(batch: Example, alpha: Float[Array, "b h w"]) -> Float[Array, " b"]:
        of_one = partial(matting.energy, epsilon=weights.epsilon, seed_weight=weights.seed_weight)
        return jax.vmap(of_one)(Seeded(batch.image, batch.seeds), alpha)

    def problems(batch: Example, choice: Array) -> Example:
        """The batch with trimaps in place of strokes: bands[choice] pixels around the border
        between the two sides as the network that training starts from sees them."""
        if start is None or not data.bands:
            return batch
        apart = (start(batch.image, batch.shown)[..., 1:] >= 0.5) == jnp.arange(2)
        known = [windows.eroded(apart, band) for band in data.bands]
        known = jnp.stack(known)[choice, jnp.arange(len(choice))].astype(batch.seeds.dtype)
        free = 1 - batch.seeds.sum(-1, keepdims=True)
        known = batch.seeds + free * known
        return batch._replace(seeds=known, shown=known)

    def alphas(image: Array, probabilities: Array) -> Float[Array, "b h w"]:
        """As the tools draw them, who see a larger picture than the network."""
        draw = partial(ridge.drawn, radius=weights.radius)
        return jax.vmap(draw)(probabilities[..., 1], image, image)

    def fresh(key: Array) -> Variables:
        shape = (1, data.size, data.size)
        return network.init(key, jnp.zeros((*shape, 3)), jnp.zeros((*shape, 2)), train=False)

    def loss(variables: Variables, batch: Example, key: Array) -> Loss:
        choices = jax.random.randint(key, (len(batch.image),), 0, max(1, len(data.bands)))
        batch = problems(batch, choices)
        probabilities, updates = network.apply(
            variables, batch.image, batch.shown, train=True, mutable=["batch_stats"]
        )
        values = energies(batch, alphas(batch.image, probabilities))
        return Loss(values, updates, {"energy": values})

    def predict(variables: Variables, batch: Example) -> dict[str, Array]:
        batch = problems(batch, jnp.arange(len(batch.image)) % max(1, len(data.bands)))
        probabilities: Any = network.apply(variables, batch.image, batch.shown, train=False)
        return {"loss": energies(batch, alphas(batch.image, probabilities))}

    count = min(data.validation_count, len(held_out))
    return Experiment(
        init=lambda key: fresh(key) if start is None else pretrained.fitting(start, fresh(key)),
        example=example,
        name=lambda step, row: source.name(index_of(step, row)),
        loss=loss,
        validation=Evaluation(count, lambda index: whole(held_out[index])),
        predict=predict,
        report=lambda variables, workdir: report(config, network, variables, measured, workdir),
    )


def report(
    config: Config, network: Any, variables: Variables, source: mattes.MatteSource, workdir: Path
) -> Report:
    """The network, polished and not, beside the exact minimiser, at the pictures' own size."""
    loss, wanted = config.loss, config.report
    net = jax.jit(partial(network.apply, variables, train=False))
    strengths = {"epsilon": loss.epsilon, "seed_weight": loss.seed_weight}
    solve = partial(energynets.matte, network=net, **strengths)
    count = min(wanted.count or len(source), len(source))
    drawn, names, kinds = [], [], []

    def scored(found: Matte, known: mattes.Known) -> dict[str, Any]:
        return {"energy": found.energy} | errors.summary(
            found.alpha, known.alpha, known.trimap == 128
        )

    def compare(index: int) -> comparison.Scores:
        known = source[index]
        kinds.append(known.kind)
        found = {m: solve(known.image, known.trimap, method=m) for m in METHODS}
        of = {method: scored(answer, known) for method, answer in found.items()}
        of["exact"]["unsolved"] = float(not found["exact"].converged)
        if index < wanted.pictures:
            shown = [found[m].alpha for m in METHODS]
            drawn.append([known.image, known.trimap / 255, *shown, known.alpha])
            names.append(f"{known.name}\n{known.kind}")
        return of

    measured = comparison.over_pictures(count, compare)
    if drawn:
        titles = ["image", "trimap", *METHODS, "truth"]
        figures.draw_grid(workdir / "figures" / "pictures.png", titles, drawn, names)
    groups = {
        kind: comparison.means(
            {
                m: {name: v[np.array(kinds) == kind] for name, v in of.items()}
                for m, of in measured.items()
            }
        )
        for kind in dict.fromkeys(kinds)
    }
    columns = {name: name for name in (*errors.SUMMARY, "energy")}
    tables = [comparison.grouped("trimap", "Scores", groups, columns)]

    def from_network(index: int, steps: int) -> dict[str, float]:
        known = source[index]
        return brief(scored(solve(known.image, known.trimap, method="polish", steps=steps), known))

    def cold(index: int, steps: int) -> dict[str, float]:
        known = source[index]
        begin = known.trimap.astype(np.float32) / 255
        of = solve(known.image, known.trimap, method="polish", steps=steps, start=begin)
        return brief(scored(of, known))

    def brief(scores: dict[str, Any]) -> dict[str, float]:
        return {name: scores[name] for name in ("energy", "MSE unknown", "SAD unknown")}

    begin = {"network": from_network, "trimap": cold}
    polished, times, table = against_steps(
        f"first {min(2, count)} pictures", begin, steps=wanted.steps, count=min(2, count)
    )
    known = source[0]
    calls = {m: ("float32", partial(solve, known.image, known.trimap, method=m)) for m in METHODS}
    of = f"one picture of {known.image.shape[1]}×{known.image.shape[0]}, its residual and all"
    timing, speed = comparison.timed(of, calls, against="network")
    scores = {**groups, "polish": polished, "pictures": count}
    notes = [
        f"{count} pictures at their own size; errors after the clip to [0, 1], energies before it: "
        f"αᵀLα + λ(α−x)ᵀQ(α−x), ε = {loss.epsilon:g}, λ = {loss.seed_weight:g}. SAD, gradient and "
        "connectivity are plain sums.",
        *comparison.unsolved_told(measured),
    ]
    pretrained.save(
        workdir / "weights.safetensors",
        variables,
        settings={**config.network.to_dict(), "classes": 2},
        about={"config": json.loads(config.to_json_best_effort()), "scores": scores},
    )
    timing = {**timing, "polish": times}
    return Report("Closed-form matting", scores, timing, [*tables, table, speed], notes)


if __name__ == "__main__":
    run(make)

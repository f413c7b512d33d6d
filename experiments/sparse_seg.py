"""Semantic segmentation from 10 to 50 labelled pixels a picture, with total variation.

    python -m experiments.sparse_seg --config=experiments/sparse_seg.py --workdir=runs/sparse/tv_0
    for draw in 1 2 3 4; do python -m experiments.sparse_seg --config=experiments/sparse_seg.py \
        --config.labels.draw=$draw --config.report.runs=runs/sparse \
        --workdir=runs/sparse/tv_$draw; done

Variants name the loss: "tv" (the default), "supervised" (the labelled pixels alone), "l2" (and the
size of the weights), "full" (all pixels labelled); "smoke" runs for seconds. MRF smoothing of the
network's output is measured in every run, where PyMaxflow is installed. With `config.report.runs`
the runs of that folder are set beside one another, those that differ by draw or seed as mean ± std.

Masks are opened in training, to draw the labelled pixels, always the same ones of a picture.
Source: Javanmardi et al., "Unsupervised Total Variation Loss for Semi-supervised Deep Learning of
Semantic Segmentation".
"""

from collections.abc import Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from energynets.data import opening, order, weak_labels
from energynets.data.grouped import Grouped
from energynets.data.source import Source
from energynets.data.weak_labels import Example
from energynets.energies import partial_cross_entropy, partial_squared_error, total_variation
from energynets.errors import BadInputError
from energynets.metrics import segmentation
from energynets.networks import segmentation as networks
from energynets.networks.contextual_hierarchy import halved
from energynets.solvers import graph_cut
from energynets.training import comparison, figures, gathering, loop
from energynets.training.experiment import Config, Evaluation, Experiment, Loss, Variables
from energynets.training.main import run
from energynets.training.ranges import refuse_late, refuse_outside
from energynets.training.report import Report
from energynets.training.sources import REPORTED, open_all

LIMITS = {
    (0, 1): ("data.crop",),
    (0, inf): (
        *("loss.tv", "loss.l2", "loss.from_step", "labels.draw"),
        *("data.validation_count", "report.pictures", "report.smoothness"),
    ),
    (1, inf): ("data.size", "labels.pixels"),
}
LOSSES = {"tv": {"tv": 0.3}, "supervised": {}, "l2": {"l2": 1e-3}, "full": {}}


def get_config(variant: str = "tv") -> Config:
    if variant not in (*LOSSES, "smoke"):
        raise BadInputError(f"variant: wanted smoke or one of {', '.join(LOSSES)}, got {variant!r}")
    config = ConfigDict()
    config.data = ConfigDict(
        {
            **opening.DEFAULTS,
            "groups": (),  # as in experiments.weak_seg
            "validation_count": 40,  # pictures measured after each epoch; 0: all
            "size": 64,
            "crop": 0.0,  # least side of a random square, in shorter sides; 0: never crop
        }
    )
    config.labels = ConfigDict(
        {
            "pixels": 10,  # labelled in each picture
            "draw": 0,  # which ones: draws are independent
            "full": variant == "full",  # all pixels labelled
        }
    )
    config.loss = ConfigDict(
        {
            "error": "cross_entropy",  # or squared, the paper's for the hierarchy
            "tv": 0.0,  # weight of Sobel's total variation, over 8 times the number of pixels
            "l2": 0.0,  # of half the sum of all squared kernels
            "from_step": 0,  # until here the labelled pixels count alone; 0: never
        }
    )
    config.loss.update(LOSSES.get(variant, LOSSES["tv"]))
    config.network = ConfigDict(
        # "patches", the paper's other network, has hardly begun to part labels in 800 steps.
        {**networks.DEFAULTS, "kind": "hierarchy", "width": 32, "hidden": 128}
    )
    config.train = loop.default_config()
    config.train.update({"steps": 800, "rate": 3e-3, "schedule": "poly", "epoch": 200})
    config.report = ConfigDict(
        {
            **REPORTED,
            "runs": "",  # a folder of runs to be set beside one another
            "smoothness": (0.5, 2.0, 8.0),  # of the MRF
            "pictures": 6,  # to draw
        }
    )
    if variant == "smoke":
        config.data.update({"size": 16, "validation_count": 4})
        config.network.update({"width": 8, "hidden": 8, "widths": (8, 8)})
        config.loss.from_step = 2
        config.train.update({"steps": 4, "batch": 2, "epoch": 2, "save_every": 1, "log_every": 1})
        config.report.smoothness = (2.0,)
    return config


def about(config: Config) -> dict[str, Any]:
    """What makes this run a row of a table: network, labels, loss; and draw and seed."""
    labels, loss = config.labels, config.loss
    parts = [f"{loss[key]:g} {name}" for key, name in (("tv", "TV"), ("l2", "L2")) if loss[key]]
    squared = ", squared" if loss.error == "squared" else ""
    return {
        "of": "sparse_seg",
        "network": networks.name(config.network) + squared,
        "pixels": "all" if labels.full else str(labels.pixels),
        "loss": " + ".join(["supervised", *parts]),
        "draw": labels.draw,
        "seed": config.train.seed,
        "settings": gathering.settings(config),
    }


def collapsed(config: Config, step: float, scores: Any) -> list[str]:
    """A sentence if the network gives whole pictures one label after so many steps."""
    acting = step > config.loss.from_step
    told = {"config.loss.tv": acting * config.loss.tv, "config.loss.l2": config.loss.l2}
    return segmentation.collapse_told(scores["collapsed"], told)


def make(config: Config) -> Experiment:
    """The task as a record of pure functions."""
    refuse_outside(config, LIMITS)
    refuse_late(config, ("tv",))
    data, labels, weights = config.data, config.labels, config.loss
    if weights.error not in ("cross_entropy", "squared"):
        wanted = "cross_entropy or squared"
        raise BadInputError(f"config.loss.error: wanted {wanted}, got {weights.error!r}")
    sources = open_all(config, labelled=1.0, needs_seeds=False, needs_masks=True)
    group = partial(Grouped, groups=data.groups) if data.groups else lambda source: source
    source, held_out = group(sources.train), group(sources.validation)
    reported, classes = group(sources.reported), source.classes
    network = networks.of(config.network, classes)
    staged = config.network.kind == "hierarchy"
    index_of = order.shuffled(len(source), config.train.batch, seed=config.train.seed)
    build = partial(weak_labels.example, size=data.size, classes=classes)
    error = {
        "cross_entropy": partial_cross_entropy.energy,
        "squared": partial_squared_error.energy,
    }[weights.error]

    def look(source: Source, index: int, part: int, **how: Any) -> Example:
        """A picture with its labelled pixels; part: 0 for training, 1 for measuring."""
        picture, mask = source[index], source.mask(index)
        if mask is None:
            raise BadInputError(f"{picture.name}: wanted a mask to draw pixels from, got none")
        if labels.full:
            return build(picture, mask=mask, **how)
        random = np.random.default_rng((labels.draw, 3, part, index))
        drawn = weak_labels.pixels(mask, labels.pixels, random)
        return build(picture._replace(seeds=drawn), **how)

    def example(step: int, row: int) -> Example:
        random = np.random.default_rng((config.train.seed, 1, step, row))
        begun = step >= weights.from_step
        how = {"random": random, "crop": data.crop, "regularized": begun}
        return look(source, index_of(step, row), 0, **how)

    def mean_error(known: Array, probabilities: Array) -> Float[Array, ""]:
        return error(known, probabilities) / jnp.maximum(known.sum(), 1)

    def energies(batch: Example, scores: Any) -> tuple[Array, Array]:
        """The error on the labelled pixels, of every stage, and total variation of the stages at
        full size, one a row: the last, then the hierarchy's first (Sec. 5.1 of the paper)."""
        last, levels = scores if staged else (scores, [])
        values = jax.vmap(mean_error)(batch.known, jax.nn.softmax(last))
        known = batch.known
        for level, of_level in enumerate(levels):
            known = halved(known) if level else known
            values = values + jax.vmap(mean_error)(known, jax.nn.softmax(of_level))
        smooth = jax.vmap(total_variation.energy)
        variations = [
            smooth(batch.image, jax.nn.softmax(of)) / (8 * data.size**2)
            for of in (last, *levels[:1])
        ]
        return values, jnp.stack(variations)

    def objective(variables: Variables, values: Array, variations: Array) -> Float[Array, " b"]:
        kernels = [leaf for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim > 1]
        size = sum((jnp.square(kernel).sum() for kernel in kernels), jnp.zeros(()))
        return values + weights.tv * variations.sum(0) + weights.l2 * size / 2

    def loss(variables: Variables, batch: Example, key: Array) -> Loss:
        scores, updates = network.apply(
            variables, batch.image, True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        values, variations = energies(batch, scores)
        total = objective(variables, values, batch.regularized * variations)
        return Loss(total, updates, {"supervision": values, "variation": variations[0]})

    def predict(variables: Variables, batch: Example) -> dict[str, Array]:
        scores: Any = network.apply(variables, batch.image, False)
        values, variations = energies(batch, scores)
        last = scores[0] if staged else scores
        right = (jax.nn.one_hot(last.argmax(-1), classes) * batch.known).sum((1, 2, 3))
        wrong = 1 - right / jnp.maximum(batch.known.sum((1, 2, 3)), 1)
        of = {"supervision": values, "variation": variations[0], "labels": last.argmax(-1)}
        # The cross entropy of a few pixels would choose the weights of the first step: it rises
        # without end as a network grows sure of what it has seen.
        return {"loss": wrong, "objective": objective(variables, values, variations), **of}

    def measure(index: int, example: Example, prediction: dict) -> dict[str, np.ndarray]:
        found = prediction["labels"]
        sums = {"count": np.ones(()), **{k: v for k, v in prediction.items() if k != "labels"}}
        truth: Any = held_out.mask(index)
        sums |= segmentation.one_label(found, np.isin(np.arange(classes), truth))
        return sums | {"confusion": segmentation.at_full_size(found, truth, classes)}

    def scores(sums: Any) -> dict[str, float]:
        of = {n: float(sums[n] / sums["count"]) for n in ("objective", "supervision", "variation")}
        of["pixel_error"] = 1 - segmentation.pixel_accuracy(sums["confusion"])
        return segmentation.scores(sums) | of | {"collapsed": segmentation.collapse(sums)}

    def probabilities(variables: Variables, image: Array) -> Array:
        answer: Any = network.apply(variables, image[None], False)
        return jax.nn.softmax(answer[0] if staged else answer)[0]

    return Experiment(
        init=lambda key: network.init(key, jnp.zeros((1, data.size, data.size, 3)), False),
        example=example,
        name=lambda step, row: source.name(index_of(step, row)),
        loss=loss,
        validation=Evaluation(len(held_out), lambda index: look(held_out, index, 1)),
        predict=predict,
        measure=measure,
        scores=scores,
        warnings=partial(collapsed, config),
        refuse=partial(gathering.refuse_missing, config.report.runs),
        report=lambda variables, workdir: report(
            config,
            jax.jit(partial(probabilities, variables)),
            reported,
            lambda index: look(reported, index, 1),
            workdir,
        ),
    )


def report(config: Config, answer: Any, source: Source, look: Any, workdir: Path) -> Report:
    """The network, and its output smoothed by MRFs of several strengths, on every picture.

    answer: image to probabilities; look: index to example.
    """
    wanted, drawn, notes = config.report, [], []
    tried = {f"network, MRF {s:g}": s for s in wanted.smoothness}
    variation = jax.jit(total_variation.energy)

    @jax.jit
    def pull(image: Array, probabilities: Array) -> Array:
        """How much descending total variation raises each label's score at each pixel."""

        def energy(scores: Array) -> Array:
            return -total_variation.energy(image, jax.nn.softmax(scores))

        return jax.grad(energy)(jnp.log(jnp.maximum(probabilities, 1e-7)))

    def compare(index: int) -> comparison.Scores:
        picture, truth = source[index], np.asarray(source.mask(index))
        example = look(index)
        probabilities = np.asarray(answer(example.image))
        found = {"network": probabilities}
        unary = -np.log(np.maximum(probabilities, 1e-7))
        for name, smoothness in tried.items():
            contrast = graph_cut.contrast(example.image)
            smooth = graph_cut.expand(unary, contrast, smoothness=smoothness).labels
            found[name] = np.eye(source.classes, dtype=np.float32)[smooth]
        measured: dict[str, dict[str, Any]] = {}
        for name, of in found.items():
            full = segmentation.at_full_size(of.argmax(-1), truth, source.classes)
            measured[name] = {
                "confusion": full,
                "pixel error": 1 - segmentation.pixel_accuracy(full),
            }
            measured[name]["variation"] = float(variation(example.image, of)) / (
                8 * of[..., 0].size
            )
            shown = np.isin(np.arange(source.classes), truth)
            measured[name] |= segmentation.one_label(of.argmax(-1), shown)
        if index < wanted.pictures:
            pulled = {"pull of TV": np.asarray(pull(example.image, probabilities))}
            drawn.append(
                figures.Weak(picture.name, example.image, example.known, found, pulled, truth)
            )
        return measured

    try:
        graph_cut.expand(np.zeros((2, 2, 2)), (np.ones((1, 2)), np.ones((2, 1))), smoothness=1)
    except BadInputError as missing:
        tried = {}
        notes.append(f"Without MRF smoothing: {missing}.")
    measured = comparison.over_pictures(len(source), compare)
    figures.draw_weak(workdir / "figures" / "pictures.png", drawn, classes=source.classes)
    found = comparison.labels_scored(measured)
    for of in found.values():
        of["pixel error"] = 1 - of["pixel accuracy"]
    mine = about(config)
    columns = ("pixel error", *segmentation.SUMMARY[:2], "variation", "collapsed")
    title = f"{mine['network']}, {mine['pixels']} pixels: {mine['loss']}"
    tables = [comparison.table(title, found, {name: name for name in columns})]
    if wanted.runs:
        runs = gathering.reports(Path(wanted.runs), what="sparse_seg", but=workdir)
        runs.append({**found, "run": mine})
        tables.append(
            gathering.table(
                f"Runs in {wanted.runs}",
                runs,
                keys=("network", "pixels", "loss"),
                methods=[*found],
                measures=("pixel error", "mIoU"),
                full={"pixels": "all", "loss": "supervised"},
            )
        )
        draw_errors(workdir / "figures" / "errors.png", runs, methods=[*found])
    notes += [
        f"{len(source)} pictures at {config.data.size}×{config.data.size}, labels brought back to "
        "full size. variation: Sobel's total variation over 8 times the pixels. Of the weights of "
        "all validations those were taken that name the labelled pixels of those pictures best.",
        *collapsed(config, inf, found["network"]),
    ]
    scores = {**found, "run": mine, "pictures": len(source)}
    return Report("Segmentation from labelled pixels", scores, {}, tables, notes)


def draw_errors(path: Path, runs: Sequence[gathering.Run], *, methods: Sequence[str]) -> None:
    """Labelled pixels against pixel error: a line for each loss, and for each further method, MRFs,
    on the network that was trained without any energy; all pixels labelled as a level."""
    named = [
        {**run, "run": {**run["run"], "loss": f"{run['run']['loss']}, all pixels labelled"}}
        if run["run"]["pixels"] == "all"
        else run
        for run in runs
    ]
    plain = [run for run in named if run["run"]["loss"] == "supervised"]
    lines: dict[str, dict[str, list[float]]] = {}
    for method in methods:
        of = named if method == "network" else plain
        lines |= gathering.along(
            of, "pixels", names=("network", "loss"), method=method, measure="pixel error"
        )
    figures.draw_along(path, lines, across="labelled pixels a picture", upwards="pixel error")


if __name__ == "__main__":
    run(make)

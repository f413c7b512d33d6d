"""Seeded segmentation by the random-walker energy, from pictures and seeds alone.

    python -m experiments.seeded_seg --config=experiments/seeded_seg.py --workdir=runs/seg
    python -m experiments.seeded_seg --config=experiments/seeded_seg.py:paper --workdir=runs/paper \
        --config.data.source=folder --config.data.root=PICTURES

Variants: "full" (the default), "quickstart" (minutes on a laptop), "smoke" (seconds), "paper" and
"preprint" (network, labels and schedule of the one and of the other).
"""

import json
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

import energynets
from energynets import pretrained
from energynets.data import augment, images, opening, order, seeds
from energynets.data.examples import Example, left_out_told, partly_shown, whole
from energynets.data.source import NO_SEED, VOID
from energynets.energies import partial_cross_entropy, random_walker
from energynets.errors import BadInputError
from energynets.interface.resizing import enlarged
from energynets.metrics import segmentation
from energynets.networks import build
from energynets.ops.colour import grayscale
from energynets.seeded import Seeded
from energynets.solvers import random_walker as solver
from energynets.training import comparison, figures, loop
from energynets.training.experiment import Config, Evaluation, Experiment, Loss, Tree, Variables
from energynets.training.main import run
from energynets.training.polishing import against_steps
from energynets.training.ranges import refuse_outside, refuse_too_small
from energynets.training.report import Report, Table
from energynets.training.sources import REPORTED, Sources, open_all

LIMITS = {
    (0, 1): ("data.crop", "data.hide", "data.hide_least", "loss.labelled"),
    (0, inf): (
        *("data.validation_count", "data.small_steps", "report.pictures", "report.betas"),
        *("report.polished", "report.steps"),
        *("loss.beta", "loss.seed_weight", "loss.floor", "loss.cross_entropy", "loss.supervised"),
    ),
    (1, inf): ("data.labels", "data.validation_labels", "data.size", "data.small_size"),
}


def get_config(variant: str = "full") -> Config:
    config = ConfigDict()
    config.data = ConfigDict(
        {
            **opening.DEFAULTS,
            "validation_count": 100,  # pictures measured after each epoch; 0: all
            "size": 128,
            "small_size": 64,  # for the first small_steps steps
            "small_steps": 0,
            "labels": 3,  # planes of one example in training, the labels of most seeds first
            "validation_labels": 6,
            "crop": 0.6,  # least side of a random square, in shorter sides; 0: never crop
            "turns": False,  # by quarters
            "hide": 0.75,  # share of examples that show the network a part of the seeds only
            "hide_least": 0.2,  # least share of a label's seeds that is then shown
        }
    )
    config.network = ConfigDict(build.DEFAULTS)
    config.start_from = ""  # weights to begin with: a name of `pretrained`, or a .safetensors file
    config.loss = ConfigDict(
        {
            "beta": 1000.0,
            "seed_weight": 1.0,
            "floor": 1e-6,
            "grayscale": False,
            "cross_entropy": 0.0,  # weight of the partial cross entropy on all seeds
            "supervised": 0.0,  # weight of the cross entropy on masks
            "labelled": 1.0,  # share of the pictures whose masks that may use
        }
    )
    config.train = loop.default_config()
    config.train.update({"steps": 4000, "rate": 1.5e-3, "schedule": "cosine", "clip": 100.0})
    config.report = ConfigDict(
        {
            **REPORTED,
            "betas": (100.0, 1000.0),
            "pictures": 6,  # to draw
            "polished": 0,  # so many at their own size: energy and error against steps of polish
            "steps": (0, 5, 20, 100),  # of polish
        }
    )
    if variant == "quickstart":
        config.data.size = 64
        config.train.update({"steps": 500, "epoch": 100})
    elif variant == "smoke":
        config.data.update({"size": 16, "labels": 2, "validation_count": 4})
        config.network.widths = (8, 8)
        config.train.update({"steps": 4, "batch": 2, "epoch": 2, "save_every": 1, "log_every": 1})
        config.report.steps = (0, 2)
    elif variant == "paper":
        config.data.update({"labels": 21, "validation_labels": 21, "hide": 0.0, "turns": True})
        config.network.update({"head": "classes", "trunk": "dilated"})
        config.train.update({"rate": 1e-2, "batch": 13, "schedule": "sign_changes", "clip": 0.0})
    elif variant == "preprint":  # with masks: one problem for each object
        config.data.update({"problems": "objects", "size": 64, "labels": 2, "hide": 0.0})
        config.data.turns = True
        config.network.update({"head": "classes", "trunk": "dilated", "relu_after_dilated": False})
        config.loss.update({"seed_weight": 10.0, "grayscale": True})
        config.train.update({"rate": 3e-4, "batch": 32, "schedule": "exponential_10", "clip": 0.0})
    elif variant != "full":
        known = "full, quickstart, smoke, paper or preprint"
        raise BadInputError(f"variant: wanted {known}, got {variant!r}")
    return config


def problem(loss: Config, image: Tree, planes: Tree) -> Seeded:
    """What energy and exact solver see of a picture."""
    return Seeded(grayscale(image) if loss.grayscale else image, planes)


def strengths(loss: Config, beta: float) -> dict[str, float]:
    """The weights of the energy, for energy and exact solver alike."""
    return {"beta": beta, "seed_weight": loss.seed_weight, "floor": loss.floor}


def make(config: Config) -> Experiment:
    """The task as a record of pure functions."""
    refuse_outside(config, LIMITS)
    data, weights = config.data, config.loss
    if config.report.polished and (config.network.head == "classes" or weights.grayscale):
        wanted = "0, unless the network has head per_label and sees colours"
        raise BadInputError(f"config.report.polished: wanted {wanted}")
    sources = open_all(config, labelled=weights.labelled if weights.supervised else 0.0)
    source, held_out = sources.train, sources.validation
    network = build.seeded(config.network, source.classes)
    start = pretrained.load(config.start_from) if config.start_from else None
    cross_entropy = jax.vmap(partial_cross_entropy.energy)
    refuse_too_small("data.size", data.size, network)
    if data.small_steps:
        refuse_too_small("data.small_size", data.small_size, network)
    fixed = np.arange(source.classes, dtype=np.int32) if config.network.head == "classes" else None
    planes = min(data.labels, source.classes)
    most = min(data.validation_labels, source.classes)
    look = partial(whole, size=data.size, count=most, fixed=fixed)
    index_of = order.shuffled(len(source), config.train.batch, seed=config.train.seed)

    def example(step: int, row: int) -> Example:
        """Disk to arrays: read, crop, flip, turn, shrink, hide a part of the seeds."""
        index = index_of(step, row)
        random = np.random.default_rng((config.train.seed, 1, step, row))
        _, image, known = source[index]
        truth = source.mask(index)
        maps = [known, np.full_like(known, VOID) if truth is None else truth]
        if data.crop and random.random() < 0.5:
            cut = augment.crop(image, *maps, random=random, least=data.crop)
            if len(np.unique(cut[1][0])) > 2:  # two labels or more, beside the unseeded pixels
                image, maps = cut
        image, maps = augment.flip_and_turn(image, *maps, random=random, turns=data.turns)
        size = data.small_size if step < data.small_steps else data.size
        image, known, truth = (np.ascontiguousarray(a) for a in (image, *maps))
        small = shown = seeds.shrink(known, size)
        if random.random() < data.hide:
            shown = seeds.hide(small, random, least=data.hide_least)
        labels = fixed if fixed is not None else seeds.labels_of(small, planes)
        return Example(
            image=images.resize(image, size),
            seeds=seeds.planes(small, labels),
            shown=seeds.planes(shown, labels),
            mask=seeds.plane_of(images.resize_labels(truth, size, size), labels),
            labels=labels,
        )

    def held_back(index: int) -> Example:
        # With all seeds shown, the least loss would choose whatever is nearest to the minimiser.
        random = np.random.default_rng((config.train.seed, 2, index))
        known, hides = look(held_out[index]), random.random() < data.hide
        return partly_shown(known, random, least=data.hide_least) if hides else known

    def energies(batch: Example, probabilities: Float[Array, "b h w k"]) -> Float[Array, " b"]:
        of_one = partial(random_walker.energy, **strengths(weights, weights.beta))
        return jax.vmap(of_one)(problem(weights, batch.image, batch.seeds), probabilities)

    def fresh(key: Array) -> Variables:
        shape = (1, data.size, data.size)
        known = jnp.zeros((*shape, source.classes if fixed is not None else 2))
        return network.init(key, jnp.zeros((*shape, 3)), known, train=False)

    def loss(variables: Variables, batch: Example, key: Array) -> Loss:
        probabilities, updates = network.apply(
            variables, batch.image, batch.shown, train=True, mutable=["batch_stats"]
        )
        values = energy_alone = energies(batch, probabilities)
        if weights.cross_entropy:
            values = values + weights.cross_entropy * cross_entropy(batch.seeds, probabilities)
        if weights.supervised:
            truth = jax.nn.one_hot(batch.mask, probabilities.shape[-1])
            values = values + weights.supervised * cross_entropy(truth, probabilities)
        return Loss(values, updates, {"energy": energy_alone})

    def predict(variables: Variables, batch: Example) -> dict[str, Array]:
        answer: Any = partial(network.apply, variables, batch.image, train=False)
        full, part = answer(batch.seeds), answer(batch.shown)
        labels = jax.vmap(lambda of, plane: of[plane])(batch.labels, full.argmax(-1))
        return {"labels": labels, "energy": energies(batch, full), "loss": energies(batch, part)}

    def measure(index: int, example: Example, prediction: dict) -> dict[str, np.ndarray]:
        sums = {"count": 1, "loss": prediction["loss"], "energy": prediction["energy"]}
        truth = held_out.mask(index)
        if truth is not None:
            labels, classes = prediction["labels"], held_out.classes
            sums["confusion"] = segmentation.at_full_size(labels, truth, classes)
        return sums

    key = jax.random.key(config.train.seed)
    return Experiment(
        init=lambda key: fresh(key) if start is None else pretrained.fitting(start, fresh(key)),
        example=example,
        name=lambda step, row: source.name(index_of(step, row)),
        loss=loss,
        validation=Evaluation(len(held_out), held_back),
        predict=predict,
        measure=measure,
        scores=segmentation.scores,
        report=lambda variables, workdir: report(
            config, network, (variables, fresh(key)), sources, look, workdir
        ),
    )


def report(
    config: Config, network: Any, weights: Any, sources: Sources, look: Any, workdir: Path
) -> Report:
    """The network, trained and fresh, beside the exact minimiser of the same energy.

    weights: the variables of both; look: picture to example.
    """
    train, _, source, shared = sources
    size, most, classes = config.data.size, config.data.validation_labels, source.classes
    apply = jax.jit(partial(network.apply, train=False))
    groups = {f"beta {beta:g}": strengths(config.loss, beta) for beta in config.report.betas}
    last = [*groups][-1]
    drawn, counts = [], []

    def compare(index: int) -> comparison.Scores:
        picture, truth = source[index], source.mask(index)
        counts.append(seeds.count(picture.seeds))
        example = look(picture)
        inputs = example.image[None], example.shown[None]
        trained, fresh = (np.asarray(apply(variables, *inputs))[0] for variables in weights)
        answers = {"network": trained, "fresh network": fresh}
        answers["nearest seed"] = seeds.nearest(example.seeds)
        seen = problem(config.loss, example.image, example.seeds)
        answers, measured = comparison.with_exact(
            seen, answers, groups, energy=random_walker.energy, solve=solver.solve
        )
        if truth is not None:
            for method, answer in answers.items():
                labels = example.labels[answer.argmax(-1)]
                measured[method]["confusion"] = segmentation.at_full_size(labels, truth, classes)
        if index < config.report.pictures:
            shown = {method: answers[method] for method in (f"exact, {last}", "network")}
            told = comparison.energies_told(measured, "network", last)
            told += segmentation.told({method: measured[method] for method in shown})
            of = picture.name, example.image, example.seeds, example.labels
            drawn.append(figures.Answered(*of, shown, truth, told))
        return measured

    measured = comparison.over_pictures(len(source), compare)
    figures.draw_answers(workdir / "figures" / "pictures.png", drawn, classes=classes)
    scores: dict[str, Any] = comparison.means(measured, pixels=size**2)
    notes = [
        f"{len(source)} {opening.UNITS[config.data.problems]} at {size}×{size}; energies are their "
        f"mean yᵀLy + λ(y−x)ᵀQ(y−x), λ = {config.loss.seed_weight:g}, floor {config.loss.floor:g}; "
        f"the network was trained at beta {config.loss.beta:g}.",
        *comparison.ratios_told(scores, "network", groups),
        *hidden_told(config.data.hide),
        *comparison.unsolved_told(measured),
        *(left_out_told(counts, most) if config.network.head == "per_label" else ()),
    ]
    each = {method: of["confusion"] for method, of in measured.items() if "confusion" in of}
    gaps = {}
    for method, confusions in each.items():
        scores[method] |= segmentation.summary(confusions)
        if method.startswith("exact"):
            for what, least in zip(segmentation.SUMMARY[:2], (1, 10), strict=True):
                name = f"{what}, network minus {method}"
                gaps[name] = segmentation.bootstrap(each["network"], confusions, at_least=least)
                notes += comparison.difference_told(name, gaps[name])
    masks = train.known()
    rows, told = comparison.supervised_told(scores, "network", masks, len(train))
    tables = comparison.energy_tables(rows, groups, segmentation.SUMMARY)
    by_steps, times, table = polishing(config, partial(apply, weights[0]), source)
    scores |= {**gaps, "pictures": len(source), "masks": masks, "polish by steps": by_steps}
    pretrained.save(
        workdir / "weights.safetensors",
        weights[0],
        settings={**config.network.to_dict(), "classes": classes},
        about={"config": json.loads(config.to_json_best_effort()), "scores": scores},
    )
    example = look(source[int(np.argsort(counts, kind="stable")[len(counts) // 2])])
    seeded = example.seeds.any((0, 1))  # the solver needs no planes of labels without seeds
    seen = problem(config.loss, example.image, example.seeds[..., seeded])
    inputs = jax.device_put((example.image[None], example.shown[None]))
    dtype = str(jnp.dtype(getattr(network, "trunk", network).dtype))
    calls = {"network": (dtype, lambda: apply(weights[0], *inputs))}
    calls |= comparison.exact_calls(seen, groups, solver.solve)
    of = f"one picture of {size}×{size} and {seeded.sum()} labels"
    timing, speed = comparison.timed(of, calls, against="network")
    return Report(
        "Seeded segmentation by the random-walker energy",
        *(scores, {**timing, "polish": times}, [*tables, *table, speed], notes + told),
        lines=comparison.exact_line(
            measured, f"beta {config.loss.beta:g}", shared, name="validation/energy"
        ),
    )


def hidden_told(share: float) -> list[str]:
    told = "“loss” is the energy where the network does not see a part of the seeds, in {:.0%} of "
    return [f"{told.format(share)}the examples of training and validation alike."] if share else []


def polishing(config: Config, network: Any, source: Any) -> tuple[dict, dict, list[Table]]:
    """Polish at the pictures' own size against its steps, begun with the network's answer, with the
    exact one at `data.size`, and with nothing: scores, seconds, and a table."""
    size, energy = config.data.size, strengths(config.loss, config.loss.beta)
    solve: Any = partial(energynets.segment, **energy)

    def labels_of(picture: Any) -> np.ndarray:
        return np.unique(picture.seeds[picture.seeds != NO_SEED]).astype(np.int32)

    def coarse(picture: Any) -> np.ndarray:
        known = seeds.planes(seeds.shrink(picture.seeds, size), labels_of(picture))
        found = solve(images.resize(picture.image, size), known)
        return enlarged(found.probabilities, picture.seeds.shape)

    def cold(picture: Any) -> np.ndarray:
        return np.zeros((*picture.seeds.shape, len(labels_of(picture))), np.float32)

    def begun(begin: Any) -> Any:
        def measure(index: int, steps: int) -> dict[str, float]:
            picture, truth = source[index], source.mask(index)
            how = {"network": network} if begin is None else {"start": begin(picture)}
            found = solve(picture.image, picture.seeds, method="polish", steps=steps, **how)
            told = {"energy": float(found.energy), "residual": float(found.residual)}
            if truth is not None:
                of = segmentation.at_full_size(found.labels, truth, source.classes)
                told["pixel accuracy"] = segmentation.pixel_accuracy(of)
            return told

        return measure

    count = min(config.report.polished, len(source))
    if not count:
        return {}, {}, []
    starts = {"network": None, f"exact at {size}×{size}": coarse, "cold": cold}
    of = f"{count} pictures at their own size, beta {config.loss.beta:g}"
    begin = {name: begun(start) for name, start in starts.items()}
    scores, times, table = against_steps(of, begin, steps=config.report.steps, count=count)
    return scores, times, [table]


if __name__ == "__main__":
    run(make)

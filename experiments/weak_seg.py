"""Semantic segmentation from scribbles, clicks, tags or few masks, with regularized losses.

    python -m experiments.weak_seg --config=experiments/weak_seg.py --workdir=runs/weak/crf
    python -m experiments.weak_seg --config=experiments/weak_seg.py:cross_entropy \
        --workdir=runs/weak/pce --config.data.source=folder --config.data.root=VOC

Variants name the loss: "crf" (the default), "cut", "kernel_cut", "cross_entropy" (partial, alone),
"proposals" (the dense CRF by ADM), "layer" (cross entropy below mean field that is trained with the
network, CRF as RNN), "scribble_sup" (full masks proposed from scribbles on superpixels, and from
the second round on from the network of the round before), "sec" (image tags alone, by "Seed, Expand
and Constrain"), "full" (all masks); "smoke" runs for seconds. With `config.report.runs=runs/weak`
the report also sets all runs of that folder beside one another. Rounds of ScribbleSup are runs:

    --config=experiments/weak_seg.py:scribble_sup --workdir=runs/weak/round1
    --config=experiments/weak_seg.py:scribble_sup --workdir=runs/weak/round2 \
        --config.labels.round=2 --config.start_from=runs/weak/round1/checkpoints/1500

Sources: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation"; Lin et al.,
"ScribbleSup"; Kolesnikov and Lampert, "Seed, Expand and Constrain".
"""

from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from energynets import pretrained
from energynets.data import opening, order, weak_labels
from energynets.data.grouped import Grouped
from energynets.data.proposed import Proposed
from energynets.data.source import Source
from energynets.data.weak_labels import Example
from energynets.energies import image_tags
from energynets.errors import BadInputError
from energynets.metrics import segmentation
from energynets.networks import segmentation as networks
from energynets.solvers import mean_field, scribble_sup
from energynets.training import comparison, figures, gathering, loop, segmentations, weak_losses
from energynets.training.experiment import Config, Evaluation, Experiment, Loss, Variables
from energynets.training.main import run
from energynets.training.proposing import scribble_sup_masks
from energynets.training.ranges import refuse_late, refuse_outside
from energynets.training.report import Report, Table
from energynets.training.sources import REPORTED, open_all

LIMITS = {
    (0, 1): ("data.crop", "labels.length", "labels.masks"),
    (0, inf): (
        *("loss.crf", "loss.cut", "loss.kernel_cut", "loss.gamma", "loss.from_step"),
        *("loss.expansion", "loss.boundary", "labels.smoothness"),
        *("data.validation_count", "report.pictures", "report.appearance", "report.smoothness"),
        "network.crf_rounds",
    ),
    (1e-6, inf): ("loss.sigma_position", "loss.sigma_colour"),
    (1, inf): ("data.size", "loss.leaves", "loss.landmarks", "loss.rounds", "labels.round"),
}
LOSSES = {
    "crf": {"crf": 1.0},
    "cut": {"cut": 0.3},
    "kernel_cut": {"kernel_cut": 1.0},
    "cross_entropy": {},
    "proposals": {"crf": 1.0, "crf_by": "proposals"},
    "layer": {},
    "scribble_sup": {},
    "sec": {"expansion": 1.0, "boundary": 1.0, "from_step": 0},
    "full": {},
}
KINDS = {"scribble_sup": "proposals", "sec": "tags"}  # of labels, where they are not scribbles


def get_config(variant: str = "crf") -> Config:
    if variant not in (*LOSSES, "smoke"):
        raise BadInputError(f"variant: wanted smoke or one of {', '.join(LOSSES)}, got {variant!r}")
    config = ConfigDict()
    config.data = ConfigDict(
        {
            **opening.DEFAULTS,
            "groups": (),  # such as ((8,), (12,)): cat 1, dog 2, all else 0; (): labels as they are
            "validation_count": 100,  # pictures measured after each epoch; 0: all
            "size": 64,
            "crop": 0.6,  # least side of a random square, in shorter sides; 0: never crop
        }
    )
    config.labels = ConfigDict(
        {
            # scribbles; tags (which labels a picture shows); none; or proposals (ScribbleSup's full
            # masks, from scribbles)
            "kind": KINDS.get(variant, "scribbles"),
            "round": 1,  # of proposals: in the first by scribbles alone, then by start_from as well
            "smoothness": 1.0,  # of proposals
            "length": 1.0,  # share of each stroke that is left; 0: a click
            "masks": float(variant == "full"),  # share of the pictures that have full masks instead
        }
    )
    config.loss = ConfigDict(weak_losses.DEFAULTS)
    config.loss.update(LOSSES.get(variant, {"kernel_cut": 1.0}))
    # Rounds of mean field below the network, trained with it: CRF as RNN.
    config.network = ConfigDict({**networks.DEFAULTS, "crf_rounds": 5 if variant == "layer" else 0})
    # A checkpoint to begin with, RUN/checkpoints/STEP, or torchvision's weights of the trunk as a
    # .safetensors file.
    config.start_from = ""
    config.train = loop.default_config()
    config.train.update({"steps": 1500, "rate": 2e-3, "schedule": "poly", "epoch": 250})
    config.report = ConfigDict(
        {
            **REPORTED,
            "runs": "",  # a folder of runs to be set beside one another
            "appearance": 4.0,  # weights of the mean field as post-processing; a layer's begin here
            "smoothness": 1.0,
            "pictures": 6,  # to draw
        }
    )
    if variant == "smoke":
        config.data.update({"size": 16, "validation_count": 4})
        config.network.widths = (8, 8)
        config.loss.from_step = 2
        config.train.update({"steps": 4, "batch": 2, "epoch": 2, "save_every": 1, "log_every": 1})
    return config


def method(config: Config) -> str:
    """The loss in words: partial cross entropy and the energies that have a weight."""
    rounds, labels = config.network.crf_rounds, config.labels
    on = f" below {rounds} rounds of mean field" if rounds else ""
    if labels.kind == "proposals" and labels.masks < 1:
        on += f" on ScribbleSup's proposals, round {labels.round}"
    return " + ".join(filter(None, ["cross entropy" + on, weak_losses.name(config.loss)]))


def labelling(config: Config) -> str:
    """What is known of the training pictures, in words."""
    labels = config.labels
    scribbles = f"scribbles × {labels.length:g}"
    rest = {"scribbles": scribbles, "proposals": scribbles, "tags": "tags", "none": "no labels"}
    if labels.masks == 1:
        return "masks"
    return (f"masks of {labels.masks:.0%}, " if labels.masks else "") + rest[labels.kind]


def length(config: Config) -> str:
    """What is left of the scribbles, "masks", or "" for labels that are neither."""
    labels = config.labels
    if labels.masks == 1:
        return "masks"
    drawn = labels.kind in ("scribbles", "proposals")
    return f"{labels.length:g}" if drawn and not labels.masks else ""


def refuse(config: Config) -> None:
    """Raises BadInputError for what no run can have."""
    refuse_outside(config, LIMITS)
    labels, loss = config.labels, config.loss
    for key, value, known in (
        ("labels.kind", labels.kind, ("scribbles", "tags", "none", "proposals")),
        ("loss.crf_by", loss.crf_by, ("descent", "proposals")),
    ):
        if value not in known:
            raise BadInputError(f"config.{key}: wanted {' or '.join(known)}, got {value!r}")
    others = (loss[key] for key in weak_losses.ENERGIES if key != "crf")
    if loss.crf_by == "proposals" and (not loss.crf or any(others)):
        raise BadInputError("config.loss.crf_by: wanted a weight for crf alone with proposals")
    if labels.kind == "tags" and labels.masks < 1 and not loss.expansion:
        raise BadInputError("config.loss.expansion: wanted a weight with tags, as in variant sec")
    if labels.kind == "none" and loss.expansion:
        raise BadInputError("config.loss.expansion: wanted tags, scribbles or masks, got none")
    if labels.kind == "proposals":
        scribble_sup.refuse_missing()
        if labels.round > 1 and (
            not config.start_from or config.start_from.endswith(".safetensors")
        ):
            raise BadInputError(
                "config.start_from: wanted a checkpoint of the round before with "
                f"labels.round={labels.round}, got {config.start_from!r}"
            )
    refuse_late(config, weak_losses.ENERGIES)
    if config.network.kind == "hierarchy":
        raise BadInputError("config.network.kind: wanted a network of one stage, got 'hierarchy'")


def refuse_without_scribbles(data: Config) -> None:
    """Raises BadInputError, with what to choose, if scribbles are asked of a folder without any."""
    asked = data.source in ("folder", "camvid", "bsds500") and data.root
    root, drawn = Path(data.root), data.seeds == "scribbles" and data.problems != "objects"
    if asked and drawn and root.is_dir() and not (root / "scribbles").is_dir():
        raise BadInputError(
            f"{root / 'scribbles'}: wanted a folder of scribbles, got no such folder; without them "
            "choose config.labels.masks=1, masks of all pictures, labels.kind=none with "
            "labels.masks=0.1, say, masks of some, or data.seeds=masks, seeds made of masks"
        )


def collapsed(config: Config, step: float, scores: Any) -> list[str]:
    """A sentence if the network gives whole pictures one label after so many steps."""
    acting = step > config.loss.from_step
    told = {f"config.loss.{key}": acting * config.loss[key] for key in weak_losses.ENERGIES}
    return segmentation.collapse_told(scores["collapsed"], told)


def below(
    config: Config, variables: Variables, image: Float[Array, "h w 3"], scores: Array
) -> Float[Array, "h w k"]:
    """Scores after the layer's rounds of mean field, whose weights are trained ones."""
    rounds, of = config.network.crf_rounds, mean_field.Parameters(**variables["params"]["crf"])
    made = weak_losses.field(config.loss, image)
    found = mean_field.solve(made, jax.nn.log_softmax(scores), of, steps=rounds)
    return jnp.log(jnp.maximum(found.value, 1e-7))


def post_processing(config: Config, classes: int) -> mean_field.Parameters:
    """The weights of mean field where they are not trained."""
    wanted = config.report
    return mean_field.potts(classes, appearance=wanted.appearance, smoothness=wanted.smoothness)


def answering(config: Config, network: Any) -> Any:
    """Image to probabilities by the network that the run begins with."""
    shape = (1, config.data.size, config.data.size, 3)
    init = partial(network.init, train=False)
    fresh = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))
    begin = pretrained.segmenter(config.start_from, config.network, fresh)
    return jax.jit(lambda image: jax.nn.softmax(network.apply(begin, image[None], False)[0]))


def make(config: Config) -> Experiment:
    """The task as a record of pure functions."""
    refuse(config)
    data, labels, weights = config.data, config.labels, config.loss
    needs_seeds = labels.masks < 1 and labels.kind != "none"
    if needs_seeds:
        refuse_without_scribbles(data)
    sources = open_all(config, labelled=labels.masks, needs_seeds=needs_seeds)
    group = partial(Grouped, groups=data.groups) if data.groups else lambda source: source
    source, held_out = group(sources.train), group(sources.validation)
    reported, classes = group(sources.reported), source.classes
    network = networks.of(config.network, classes)
    if labels.kind == "proposals":
        # They depend on the picture and on the weights that the run begins with alone, so that
        # examples are the same whenever they are made.
        propose = scribble_sup_masks(
            answering(config, network) if labels.round > 1 else None,
            size=data.size,
            classes=classes,
            length=labels.length,
            smoothness=labels.smoothness,
        )
        source = Proposed(source, propose)
    index_of = order.shuffled(len(source), config.train.batch, seed=config.train.seed)
    look = partial(
        weak_labels.example,
        size=data.size,
        classes=classes,
        kind="scribbles" if labels.kind == "proposals" else labels.kind,
        length=labels.length,
    )
    crf = post_processing(config, classes)

    def example(step: int, row: int) -> Example:
        index = index_of(step, row)
        return look(
            source[index],
            mask=source.mask(index),
            random=np.random.default_rng((config.train.seed, 1, step, row)),
            crop=data.crop,
            regularized=step >= weights.from_step,
        )

    def held_back(source: Source, index: int) -> Example:
        masks = labels.masks == 1 or labels.kind == "none"
        return look(source[index], mask=source.mask(index) if masks else None)

    of_each = jax.vmap(partial(weak_losses.energies, weights, crf))
    regularizer = jax.vmap(partial(weak_losses.regularizer, weights, crf))
    layer = config.network.crf_rounds > 0

    def scored(variables: Variables, images: Array, train: bool, **how: Any) -> Any:
        """Scores, and beside them the new statistics where `how` says that some are mutable."""
        answer: Any = network.apply(variables, images, train, **how)
        if not layer:
            return answer
        of = jax.vmap(partial(below, config, variables))
        return (of(images, answer[0]), answer[1]) if how else of(images, answer)

    def supervision(batch: Example, probabilities: Array) -> Float[Array, " b"]:
        """Mean cross entropy over the known pixels, and what tags ask."""
        values = jax.vmap(image_tags.seeding)(batch.known, probabilities)
        if not weights.expansion:
            return values
        tagged = jax.vmap(weak_losses.of_tags)(batch.present, probabilities)
        if labels.kind == "tags":  # beside a whole mask they have nothing to say
            tagged = jnp.where(batch.known.any((1, 2, 3)), 0, tagged)
        return values + weights.expansion * tagged

    def loss(variables: Variables, batch: Example, key: Array) -> Loss:
        scores, updates = scored(
            variables, batch.image, True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        probabilities = jax.nn.softmax(scores)
        values = asked = supervision(batch, probabilities)
        if any(weights[key] for key in weak_losses.ENERGIES):
            begun = batch.regularized.any()
            values = values + jax.lax.cond(
                begun, regularizer, lambda *_: jnp.zeros_like(asked), batch, probabilities
            )
        return Loss(values, updates, {"supervision": asked})

    def predict(variables: Variables, batch: Example) -> dict[str, Array]:
        scores = scored(variables, batch.image, False)
        of = of_each(batch, jax.nn.softmax(scores))
        asked = supervision(batch, jax.nn.softmax(scores))
        total = asked + weak_losses.total(weights, of)
        return {"labels": scores.argmax(-1), "loss": total, "supervision": asked, **of}

    def measure(index: int, example: Example, prediction: dict) -> dict[str, np.ndarray]:
        found, truth = prediction["labels"], held_out.mask(index)
        sums = {"count": np.ones(()), **{k: v for k, v in prediction.items() if k != "labels"}}
        sums |= segmentation.one_label(found, segmentations.shown(truth, example))
        if truth is not None:
            sums["confusion"] = segmentation.at_full_size(found, truth, classes)
        return sums

    def scores(sums: Any) -> dict[str, float]:
        names = ("supervision", "crf", "cut", "boundary")
        of = {n: float(sums[n] / sums["count"]) for n in names if n in sums}
        return segmentation.scores(sums) | of | {"collapsed": segmentation.collapse(sums)}

    def fresh(key: Array) -> Variables:
        made = network.init(key, jnp.zeros((1, data.size, data.size, 3)), False)
        begin = pretrained.segmenter(config.start_from, config.network, made)
        if not layer:
            return begin
        return {**begin, "params": {**begin["params"], "crf": crf._asdict()}}

    return Experiment(
        init=fresh,
        example=example,
        name=lambda step, row: source.name(index_of(step, row)),
        loss=loss,
        validation=Evaluation(len(held_out), partial(held_back, held_out)),
        predict=predict,
        measure=measure,
        scores=scores,
        warnings=partial(collapsed, config),
        refuse=partial(gathering.refuse_missing, config.report.runs),
        report=lambda variables, workdir: report(
            config,
            partial(scored, variables, train=False),
            reported,
            partial(held_back, reported),
            workdir,
        ),
    )


def report(config: Config, network: Any, source: Source, look: Any, workdir: Path) -> Report:
    """The network, and the network with mean field on top, on every picture; the runs beside it.

    network: images to scores; look: index to example.
    """
    crf = post_processing(config, source.classes)
    energies = partial(weak_losses.energies, config.loss, crf)

    @jax.jit
    def answers(image: Array) -> dict[str, Array]:
        scores = network(image[None])[0]
        made = weak_losses.field(config.loss, image)
        refined = mean_field.solve(made, jax.nn.log_softmax(scores), crf, steps=5)
        return {"network": jax.nn.softmax(scores), "network, mean field": refined.value}

    @jax.jit
    def pulls(example: Example) -> dict[str, Array]:
        """How much descending each energy raises the score of each label at each pixel."""

        def energy(scores: Array, crf: float, cut: float) -> Array:
            of = energies(example, jax.nn.softmax(scores))
            return -crf * of["crf"] - cut * of["cut"]

        parts = {
            "CRF": (1.0, 0.0),
            "normalized cut": (0.0, 1.0),
            "kernel cut": (1.0, config.loss.gamma),
        }
        scores = network(example.image[None])[0]
        return {name: jax.grad(energy)(scores, *part) for name, part in parts.items()}

    found = segmentations.compared(
        source,
        look,
        answers=answers,
        energies=jax.jit(energies),
        pulls=pulls,
        figure=workdir / "figures" / "pictures.png",
        pictures=config.report.pictures,
    )
    about = {"of": "weak_seg", "labels": labelling(config), "loss": method(config)}
    about |= {"network": networks.name(config.network), "seed": config.train.seed}
    about |= {"length": length(config), "settings": gathering.settings(config)}
    columns = {name: name for name in (*segmentation.SUMMARY, "crf", "cut", "collapsed")}
    tables = [comparison.table(f"{about['loss']}; {about['labels']}", found, columns)]
    if config.report.runs:
        runs = gathering.reports(Path(config.report.runs), what="weak_seg", but=workdir)
        runs.append({**found, "run": about, "folder": str(workdir)})
        tables += beside(runs, [*found], workdir / "figures")
    notes = [
        f"{len(source)} pictures at {config.data.size}×{config.data.size}, labels brought back to "
        "full size. crf: the share of all affinity that is cut; cut: normalized cut; both of the "
        "probabilities.",
        *collapsed(config, inf, found["network"]),
    ]
    scores = {**found, "run": about, "pictures": len(source)}
    return Report("Segmentation from weak labels", scores, {}, tables, notes)


def beside(runs: list[gathering.Run], methods: list[str], folder: Path) -> list[Table]:
    """Tables of several runs; energy and score over training, and scribble length, are drawn."""
    keys, parts = ("network", "labels", "loss"), ("validation/crf", "validation/mean_iou")
    figures.draw_runs(folder / "runs.png", gathering.folders(runs, keys), parts)
    drawn = [run for run in runs if run["run"].get("length")]
    lines: dict[str, dict[str, list[float]]] = {}
    for name in methods:
        names = ("network", "loss")
        lines |= gathering.along(drawn, "length", names=names, method=name, measure="mIoU")
    figures.draw_along(
        folder / "lengths.png",
        lines,
        across="share of each scribble that is left; 0: a click",
        upwards="mIoU",
    )
    how = {"keys": keys, "methods": methods}
    full = {"labels": "masks", "loss": "cross entropy"}
    return [
        gathering.methods_beside(
            "In the loss, afterwards, as a layer", runs, **how, measure="mIoU"
        ),
        gathering.table("All runs", runs, **how, measures=("mIoU", "crf"), full=full),
    ]


if __name__ == "__main__":
    run(make)

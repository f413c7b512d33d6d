"""Semantic segmentation from scribbles, clicks, tags or few masks, with regularized losses.

    python -m experiments.weak_seg --config=experiments/weak_seg.py --workdir=runs/weak/crf
    python -m experiments.weak_seg --config=experiments/weak_seg.py:cross_entropy \
        --workdir=runs/weak/pce --config.data.source=folder --config.data.root=VOC

Variants name the loss: "crf" (the default), "cut", "kernel_cut", "cross_entropy" (partial, alone),
"proposals" (the dense CRF by ADM), "layer" (cross entropy below mean field that is trained with the
network, CRF as RNN), "full" (all masks); "smoke" runs for seconds. With
`config.report.runs=runs/weak` the report also sets all runs of that folder beside one another.

Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation".
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
from energynets.data.source import Source
from energynets.data.weak_labels import Example
from energynets.energies import dense_crf, image_tags, normalized_cut, partial_cross_entropy
from energynets.errors import BadInputError
from energynets.metrics import segmentation
from energynets.networks import segmentation as networks
from energynets.ops import bilateral
from energynets.solvers import mean_field
from energynets.training import comparison, figures, gathering, loop
from energynets.training.experiment import Config, Evaluation, Experiment, Loss, Variables
from energynets.training.main import run
from energynets.training.ranges import refuse_late, refuse_outside
from energynets.training.report import Report
from energynets.training.sources import REPORTED, open_all

LIMITS = {
    (0, 1): ("data.crop", "labels.length", "labels.masks"),
    (0, inf): (
        *("loss.crf", "loss.cut", "loss.kernel_cut", "loss.gamma", "loss.from_step"),
        *("data.validation_count", "report.pictures", "report.appearance", "report.smoothness"),
        "network.crf_rounds",
    ),
    (1e-6, inf): ("loss.sigma_position", "loss.sigma_colour"),
    (1, inf): ("data.size", "loss.leaves", "loss.landmarks", "loss.rounds"),
}
LOSSES = {
    "crf": {"crf": 1.0},
    "cut": {"cut": 0.3},
    "kernel_cut": {"kernel_cut": 1.0},
    "cross_entropy": {},
    "proposals": {"crf": 1.0, "crf_by": "proposals"},
    "layer": {},
    "full": {},
}


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
            "kind": "scribbles",  # or tags (which labels a picture shows), or none
            "length": 1.0,  # share of each stroke that is left; 0: a click
            "masks": float(variant == "full"),  # share of the pictures that have full masks instead
        }
    )
    config.loss = ConfigDict(
        {
            "crf": 0.0,  # weight of the dense CRF, as a share of all affinity
            "cut": 0.0,  # of normalized cut
            "kernel_cut": 0.0,  # of dense CRF + gamma · normalized cut
            "gamma": 0.3,
            "sigma_position": 0.25,  # in sides of the picture: 80 pixels of 320
            "sigma_colour": 13 / 255,
            # Of the filter, as `splits` in `ops.bilateral`: coarser than its (8, 8) of 64, which
            # takes a third more of a step; filtered planes are up to 4 % off at 64×64.
            "leaves": (8, 4),
            "landmarks": 32,
            "from_step": 500,  # the first phase, cross entropy alone, ends here
            "crf_by": "descent",  # or proposals: ADM, cross entropy on mean-field proposals
            "rounds": 5,  # of mean field, in a proposal
        }
    )
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
    loss = config.loss
    crf = "CRF by ADM" if loss.crf_by == "proposals" else "CRF"
    kernel_cut = f"kernel cut of γ {loss.gamma:g}"
    names = {"cut": "normalized cut", "crf": crf, "kernel_cut": kernel_cut}
    parts = [f"{loss[key]:g} {name}" for key, name in names.items() if loss[key]]
    rounds = config.network.crf_rounds
    layer = f" below {rounds} rounds of mean field" if rounds else ""
    return " + ".join(["cross entropy" + layer, *parts])


def labelling(config: Config) -> str:
    """What is known of the training pictures, in words."""
    labels = config.labels
    rest = {"scribbles": f"scribbles × {labels.length:g}", "tags": "tags", "none": "no labels"}
    if labels.masks == 1:
        return "masks"
    return (f"masks of {labels.masks:.0%}, " if labels.masks else "") + rest[labels.kind]


def length(config: Config) -> str:
    """What is left of the scribbles, "masks", or "" for labels that are neither."""
    labels = config.labels
    if labels.masks == 1:
        return "masks"
    return f"{labels.length:g}" if labels.kind == "scribbles" and not labels.masks else ""


def refuse(config: Config) -> None:
    """Raises BadInputError for what no run can have."""
    refuse_outside(config, LIMITS)
    labels, loss = config.labels, config.loss
    for key, value, known in (
        ("labels.kind", labels.kind, ("scribbles", "tags", "none")),
        ("loss.crf_by", loss.crf_by, ("descent", "proposals")),
    ):
        if value not in known:
            raise BadInputError(f"config.{key}: wanted {' or '.join(known)}, got {value!r}")
    if loss.crf_by == "proposals" and (not loss.crf or loss.cut or loss.kernel_cut):
        raise BadInputError("config.loss.crf_by: wanted a weight for crf alone with proposals")
    refuse_late(config, ("crf", "cut", "kernel_cut"))
    if config.network.kind == "hierarchy":
        raise BadInputError("config.network.kind: wanted a network of one stage, got 'hierarchy'")


def collapsed(config: Config, step: float, scores: Any) -> list[str]:
    """A sentence if the network gives whole pictures one label after so many steps."""
    acting = step > config.loss.from_step
    told = {f"config.loss.{k}": acting * config.loss[k] for k in ("crf", "cut", "kernel_cut")}
    return segmentation.collapse_told(scores["collapsed"], told)


def affinity(loss: Config, image: Array) -> bilateral.Affinity:
    """W of a picture, as the config has it."""
    return bilateral.affinity(image, **widths(loss, image.shape[0]))


def widths(loss: Config, size: int) -> dict[str, Any]:
    """What the dense kernel is, for energies and mean field alike."""
    return {
        "sigma_position": loss.sigma_position * size,
        "sigma_colour": loss.sigma_colour,
        "splits": tuple(loss.leaves),
        "landmarks": loss.landmarks,
    }


def field(loss: Config, image: Array) -> mean_field.Field:
    """Both kernels of mean field, as post-processing and as a layer."""
    size = image.shape[0]
    smooth = {"sigma_smooth": 3 * size / 320, "radius": max(1, size // 16)}
    return mean_field.field(image, **smooth, **widths(loss, size))


def below(
    config: Config, variables: Variables, image: Float[Array, "h w 3"], scores: Array
) -> Float[Array, "h w k"]:
    """Scores after the layer's rounds of mean field, whose weights are trained ones."""
    rounds, of = config.network.crf_rounds, mean_field.Parameters(**variables["params"]["crf"])
    made = field(config.loss, image)
    found = mean_field.solve(made, jax.nn.log_softmax(scores), of, steps=rounds)
    return jnp.log(jnp.maximum(found.value, 1e-7))


def energies(loss: Config, example: Example, probabilities: Array) -> dict[str, Array]:
    """Dense CRF as a share of all affinity, and normalized cut, of one picture."""
    of = affinity(loss, example.image)
    cut = normalized_cut.of_affinity(of, probabilities, example.present)
    return {"crf": dense_crf.share_of_affinity(of, probabilities), "cut": cut}


def divergence(loss: Config, example: Example, probabilities: Array) -> Float[Array, ""]:
    """ADM: cross entropy of the network on the dense CRF's proposals, a mean over free pixels."""
    of, free = affinity(loss, example.image), 1 - example.known.max(-1, keepdims=True)
    weight = loss.crf * free.sum() / bilateral.apply(of, jnp.ones_like(free)).sum()
    found = mean_field.propose(of, probabilities, example.known, weight=weight, steps=loss.rounds)
    wanted = jax.lax.stop_gradient(found.value) * free
    return partial_cross_entropy.energy(wanted, probabilities) / jnp.maximum(free.sum(), 1)


def make(config: Config) -> Experiment:
    """The task as a record of pure functions."""
    refuse(config)
    data, labels, weights = config.data, config.labels, config.loss
    needs_seeds = labels.masks < 1 and labels.kind != "none"
    sources = open_all(config, labelled=labels.masks, needs_seeds=needs_seeds)
    group = partial(Grouped, groups=data.groups) if data.groups else lambda source: source
    source, held_out = group(sources.train), group(sources.validation)
    reported, classes = group(sources.reported), source.classes
    network = networks.of(config.network, classes)
    index_of = order.shuffled(len(source), config.train.batch, seed=config.train.seed)
    look = partial(
        weak_labels.example,
        size=data.size,
        classes=classes,
        kind=labels.kind,
        length=labels.length,
    )
    crf_weight = weights.crf + weights.kernel_cut
    cut_weight = weights.cut + weights.gamma * weights.kernel_cut
    # Published for planes of 41×41: these cover the same share of the picture.
    published = {"decay_present": 0.996, "decay_absent": 0.0, "decay_background": 0.999}
    decays = {name: decay ** (41**2 / data.size**2) for name, decay in published.items()}

    def example(step: int, row: int) -> Example:
        index = index_of(step, row)
        return look(
            source[index],
            mask=source.mask(index),
            random=np.random.default_rng((config.train.seed, 1, step, row)),
            crop=data.crop,
            regularized=step >= weights.from_step,
        )

    def held_back(index: int) -> Example:
        masks = labels.masks == 1 or labels.kind == "none"
        return look(held_out[index], mask=held_out.mask(index) if masks else None)

    of_each = jax.vmap(partial(energies, weights))
    layer = config.network.crf_rounds > 0

    def scored(variables: Variables, images: Array, train: bool, **how: Any) -> Any:
        """Scores, and beside them the new statistics where `how` says that some are mutable."""
        answer: Any = network.apply(variables, images, train, **how)
        if not layer:
            return answer
        of = jax.vmap(partial(below, config, variables))
        return (of(images, answer[0]), answer[1]) if how else of(images, answer)

    def regularizer(batch: Example, probabilities: Array) -> Float[Array, " b"]:
        if weights.crf_by == "proposals":
            return jax.vmap(partial(divergence, weights))(batch, probabilities)
        of = of_each(batch, probabilities)
        return crf_weight * of["crf"] + cut_weight * of["cut"]

    def supervision(batch: Example, probabilities: Array) -> Float[Array, " b"]:
        """Mean cross entropy over the known pixels; what tags ask where none is known."""
        values = jax.vmap(image_tags.seeding)(batch.known, probabilities)
        if labels.kind != "tags":
            return values
        tagged = jax.vmap(partial(image_tags.expansion, **decays))(batch.present, probabilities)
        return jnp.where(batch.known.any((1, 2, 3)), values, tagged)

    def loss(variables: Variables, batch: Example, key: Array) -> Loss:
        scores, updates = scored(
            variables, batch.image, True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        probabilities = jax.nn.softmax(scores)
        values = asked = supervision(batch, probabilities)
        if crf_weight or cut_weight:
            begun = batch.regularized.any()
            values = values + jax.lax.cond(
                begun, regularizer, lambda *_: jnp.zeros_like(asked), batch, probabilities
            )
        return Loss(values, updates, {"supervision": asked})

    def predict(variables: Variables, batch: Example) -> dict[str, Array]:
        scores = scored(variables, batch.image, False)
        of = of_each(batch, jax.nn.softmax(scores))
        asked = supervision(batch, jax.nn.softmax(scores))
        total = asked + crf_weight * of["crf"] + cut_weight * of["cut"]
        return {"labels": scores.argmax(-1), "loss": total, "supervision": asked, **of}

    def measure(index: int, example: Example, prediction: dict) -> dict[str, np.ndarray]:
        found, truth = prediction["labels"], held_out.mask(index)
        sums = {"count": np.ones(()), **{k: v for k, v in prediction.items() if k != "labels"}}
        sums |= segmentation.one_label(found, example.present)
        if truth is not None:
            sums["confusion"] = segmentation.at_full_size(found, truth, classes)
        return sums

    def scores(sums: Any) -> dict[str, float]:
        of = {n: float(sums[n] / sums["count"]) for n in ("supervision", "crf", "cut")}
        return segmentation.scores(sums) | of | {"collapsed": segmentation.collapse(sums)}

    def fresh(key: Array) -> Variables:
        made = begun(network.init(key, jnp.zeros((1, data.size, data.size, 3)), False))
        if not layer:
            return made
        wanted = config.report
        first = mean_field.potts(
            classes, appearance=wanted.appearance, smoothness=wanted.smoothness
        )
        return {**made, "params": {**made["params"], "crf": first._asdict()}}

    def begun(made: Variables) -> Variables:
        """The network as `start_from` has it; a layer is always fresh."""
        if not config.start_from:
            return made
        if not config.start_from.endswith(".safetensors"):
            begin = dict(pretrained.checkpoint(config.start_from))
            begin["params"] = {k: v for k, v in begin["params"].items() if k != "crf"}
            if not pretrained.alike(begin, made):
                raise BadInputError(
                    "config.start_from: wanted a checkpoint of the network that the config "
                    "describes, got that of another"
                )
            return begin
        return networks.with_trunk(config.network, made, pretrained.arrays(config.start_from))

    return Experiment(
        init=fresh,
        example=example,
        name=lambda step, row: source.name(index_of(step, row)),
        loss=loss,
        validation=Evaluation(len(held_out), held_back),
        predict=predict,
        measure=measure,
        scores=scores,
        warnings=partial(collapsed, config),
        report=lambda variables, workdir: report(
            config,
            partial(scored, variables, train=False),
            reported,
            look,
            workdir,
        ),
    )


def report(config: Config, network: Any, source: Source, look: Any, workdir: Path) -> Report:
    """The network, and the network with mean field on top, on every picture; the runs beside it.

    network: images and train to scores; look: picture to example.
    """
    weights, size, drawn = config.loss, config.data.size, []
    of_one = jax.jit(partial(energies, weights))
    crf = mean_field.potts(
        source.classes, appearance=config.report.appearance, smoothness=config.report.smoothness
    )

    @jax.jit
    def answers(image: Array) -> dict[str, Array]:
        scores = network(image[None])[0]
        refined = mean_field.solve(field(weights, image), jax.nn.log_softmax(scores), crf, steps=5)
        return {"network": jax.nn.softmax(scores), "network, mean field": refined.value}

    @jax.jit
    def pulls(example: Example) -> dict[str, Array]:
        """How much descending each energy raises the score of each label at each pixel."""

        def energy(scores: Array, crf: float, cut: float) -> Array:
            of = energies(weights, example, jax.nn.softmax(scores))
            return -crf * of["crf"] - cut * of["cut"]

        parts = {
            "CRF": (1.0, 0.0),
            "normalized cut": (0.0, 1.0),
            "kernel cut": (1.0, weights.gamma),
        }
        scores = network(example.image[None])[0]
        return {name: jax.grad(energy)(scores, *part) for name, part in parts.items()}

    def compare(index: int) -> comparison.Scores:
        picture, truth = source[index], source.mask(index)
        example = look(picture)
        found = jax.tree.map(np.asarray, answers(example.image))
        measured: dict[str, dict[str, Any]] = {}
        for name, answer in found.items():
            labels = answer.argmax(-1)
            measured[name] = {k: float(v) for k, v in of_one(example, answer).items()}
            measured[name] |= segmentation.one_label(labels, example.present)
            if truth is not None:
                of = segmentation.at_full_size(labels, truth, source.classes)
                measured[name]["confusion"] = of
        if index < config.report.pictures:
            pulled = {f"pull of {name}": np.asarray(of) for name, of in pulls(example).items()}
            drawn.append(
                figures.Weak(picture.name, example.image, example.known, found, pulled, truth)
            )
        return measured

    measured = comparison.over_pictures(len(source), compare)
    figures.draw_weak(workdir / "figures" / "pictures.png", drawn, classes=source.classes)
    found = comparison.labels_scored(measured)
    about = {"of": "weak_seg", "labels": labelling(config), "loss": method(config)}
    about |= {"network": networks.name(config.network), "seed": config.train.seed}
    about |= {"length": length(config), "settings": gathering.settings(config)}
    columns = {name: name for name in (*segmentation.SUMMARY, "crf", "cut", "collapsed")}
    tables = [comparison.table(f"{about['loss']}; {about['labels']}", found, columns)]
    if config.report.runs:
        beside = gathering.reports(Path(config.report.runs), what="weak_seg", but=workdir)
        drawn_runs = {}
        for run in [*beside, {"run": about, "folder": workdir}]:
            folder, of = Path(run["folder"]), run["run"]
            drawn_runs[f"{folder.name}: {of['labels']}, {of['loss']}"] = folder
        scalars = ("validation/crf", "validation/mean_iou")
        figures.draw_runs(workdir / "figures" / "runs.png", drawn_runs, scalars)
        tables.append(
            gathering.table(
                f"Runs in {config.report.runs}",
                [*beside, {**found, "run": about}],
                keys=("network", "labels", "loss"),
                methods=[*found],
                measures=("mIoU", "crf"),
                full={"labels": "masks", "loss": "cross entropy"},
            )
        )
        runs = [run for run in [*beside, {**found, "run": about}] if run["run"].get("length")]
        lines: dict[str, dict[str, list[float]]] = {}
        for name in found:
            lines |= gathering.along(
                runs, "length", names=("network", "loss"), method=name, measure="mIoU"
            )
        figures.draw_along(
            workdir / "figures" / "lengths.png",
            lines,
            across="share of each scribble that is left; 0: a click",
            upwards="mIoU",
        )
    notes = [
        f"{len(source)} pictures at {size}×{size}, labels brought back to full size. crf: the "
        "share of all affinity that is cut; cut: normalized cut; both of the probabilities.",
        *collapsed(config, inf, found["network"]),
    ]
    scores = {**found, "run": about, "pictures": len(source)}
    return Report("Segmentation from weak labels", scores, {}, tables, notes)


if __name__ == "__main__":
    run(make)

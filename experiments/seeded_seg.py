"""Seeded segmentation by the random-walker energy, from pictures and seeds alone.

    python -m experiments.seeded_seg --config=experiments/seeded_seg.py --workdir=runs/seg
    python -m experiments.seeded_seg --config=experiments/seeded_seg.py:paper --workdir=runs/paper \
        --config.data.source=folder --config.data.root=PICTURES

Variants: "full" (the default), "quickstart" (minutes on a laptop), "smoke" (seconds), "paper" (the
network, labels and schedule of the paper).
"""

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from energynets import pretrained
from energynets.data import augment, images, opening, seeds
from energynets.data.source import VOID, Picture, Source
from energynets.energies import partial_cross_entropy, random_walker
from energynets.errors import BadInputError
from energynets.metrics import segmentation
from energynets.networks import build
from energynets.ops.colour import grayscale
from energynets.seeded import Seeded
from energynets.solvers import random_walker as solver
from energynets.training import loop
from energynets.training.experiment import Config, Evaluation, Experiment, Loss, Tree, Variables
from energynets.training.journal import progress_bar
from energynets.training.main import run
from energynets.training.report import (
    Report,
    Table,
    draw_grid,
    draw_training,
    label_colours,
    outlined,
    seconds,
)
from energynets.training.sources import open_source


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
            "turns": True,  # by quarters
            "hide": 0.5,  # share of examples that show the network a part of the seeds only
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
    config.train.update({"steps": 20000, "batch": 8, "rate": 2e-3, "schedule": "cosine"})
    config.report = ConfigDict(
        {
            "root": "",  # what to report on; "": the root above
            "split": "",  # "": the validation split above
            "betas": (100.0, 1000.0),
            "pictures": 6,
        }
    )
    if variant == "quickstart":
        config.data.size = 64
        config.train.update({"steps": 500, "epoch": 100})
    elif variant == "smoke":
        config.data.update({"size": 16, "labels": 2, "validation_count": 4})
        config.network.widths = (8, 8)
        config.train.update({"steps": 4, "batch": 2, "epoch": 2, "save_every": 1, "log_every": 1})
    elif variant == "paper":
        config.data.update({"labels": 21, "validation_labels": 21, "hide": 0.0})
        config.network.update({"head": "classes", "trunk": "dilated"})
        config.train.update({"rate": 1e-2, "batch": 13, "schedule": "sign_changes"})
    elif variant != "full":
        raise BadInputError(f"variant: wanted full, quickstart, smoke or paper, got {variant!r}")
    return config


class Example(NamedTuple):
    """One picture at the network's size S; K planes stand for the labels in `labels`.

    image: S×S×3 in [0, 1].
    seeds: S×S×K, all of them, for the energy.
    shown: S×S×K, those that the network sees.
    mask: S×S, the true plane; -1 where it is unknown, and everywhere without supervision.
    labels: K, -1 for a plane that is not used.
    """

    image: Tree  # NumPy arrays on the host, JAX arrays in a batch
    seeds: Tree
    shown: Tree
    mask: Tree
    labels: Tree


def refuse_senseless(config: Config) -> None:
    """Numbers that no run can have, by name, before anything is read."""
    inf = float("inf")
    ranges = {
        (0, 1): ("data.crop", "data.hide", "data.hide_least", "loss.labelled"),
        (0, inf): (
            *("data.validation_count", "data.small_steps", "report.pictures"),
            *("loss.beta", "loss.seed_weight", "loss.floor"),
            *("loss.cross_entropy", "loss.supervised"),
        ),
        (1, inf): ("data.labels", "data.validation_labels", "data.size", "data.small_size"),
    }
    for (least, most), keys in ranges.items():
        for key in keys:
            part, name = key.split(".")
            value = config[part][name]
            if not (least <= value <= most and value < inf):
                limit = f"from {least} to {most}" if most < inf else f"of at least {least}"
                raise BadInputError(f"config.{key}: wanted a finite number {limit}, got {value}")
    betas = config.report.betas
    if not betas or not all(isinstance(b, int | float) and 0 <= b < inf for b in betas):
        raise BadInputError(
            f"config.report.betas: wanted one finite number or more, of at least 0, got {betas}"
        )


def whole(picture: Picture, size: int, count: int, fixed: np.ndarray | None) -> Example:
    """A held-out picture as it is, with all its seeds; its labels, or those that are `fixed`."""
    small = seeds.shrink(picture.seeds, size)
    labels = seeds.labels_of(small, count) if fixed is None else fixed
    planes = seeds.planes(small, labels)
    blank = np.full((size, size), -1, np.int32)
    return Example(images.resize(picture.image, size), planes, planes, blank, labels)


def make(config: Config) -> Experiment:
    """The task as a record of pure functions."""
    refuse_senseless(config)
    data, weights = config.data, config.loss
    source = open_source(data, data.train)
    held_out = open_source(data, data.validation, masks=True)
    reported = held_out
    split, root = config.report.split or data.validation, config.report.root or data.root
    if (split, root) != (data.validation, data.root):
        reported = open_source({**data, "root": root}, split, masks=True)
    network = build.seeded(config.network, source.classes)
    start = pretrained.load(config.start_from) if config.start_from else None
    cross_entropy = jax.vmap(partial_cross_entropy.energy)
    least = min(data.size, data.small_size) if data.small_steps else data.size
    if least < network.least_size:
        raise BadInputError(
            f"config.data.size: wanted at least {network.least_size} pixels for this "
            f"network, got {least}"
        )
    fixed = np.arange(source.classes, dtype=np.int32) if config.network.head == "classes" else None

    @lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((config.train.seed, 0, epoch)).permutation(len(source))

    def index_of(step: int, row: int) -> int:
        epoch, place = divmod(step * config.train.batch + row, len(source))
        return int(order(epoch)[place])

    def example(step: int, row: int) -> Example:
        """Disk to arrays: read, crop, flip, turn, shrink, hide a part of the seeds."""
        index = index_of(step, row)
        random = np.random.default_rng((config.train.seed, 1, step, row))
        _, image, known = source[index]
        maps = [known]
        labelled = weights.supervised > 0 and index < weights.labelled * len(source)
        if labelled:
            truth = source.mask(index)
            maps.append(np.full_like(known, VOID) if truth is None else truth)
        if data.crop and random.random() < 0.5:
            cut = augment.crop(image, *maps, random=random, least=data.crop)
            if len(np.unique(cut[1][0])) > 2:  # two labels or more, beside the unseeded pixels
                image, maps = cut
        image, maps = augment.flip_and_turn(image, *maps, random=random, turns=data.turns)
        size = data.small_size if step < data.small_steps else data.size
        small = seeds.shrink(np.ascontiguousarray(maps[0]), size)
        shown = small
        if random.random() < data.hide:
            shown = seeds.hide(small, random, least=data.hide_least)
        labels = fixed if fixed is not None else seeds.labels_of(small, data.labels)
        mask = np.full((size, size), VOID, np.uint8)
        if labelled:
            mask = images.resize_labels(np.ascontiguousarray(maps[1]), size, size)
        return Example(
            images.resize(np.ascontiguousarray(image), size),
            seeds.planes(small, labels),
            seeds.planes(shown, labels),
            seeds.plane_of(mask, labels),
            labels,
        )

    def energy(batch: Example, probabilities: Float[Array, "b h w k"], beta: float) -> Array:
        def of_one(image: Array, planes: Array, y: Array) -> Array:
            seen = grayscale(image) if weights.grayscale else image
            return random_walker.energy(
                Seeded(seen, planes),
                y,
                beta=beta,
                seed_weight=weights.seed_weight,
                floor=weights.floor,
            )

        return jax.vmap(of_one)(batch.image, batch.seeds, probabilities)

    def fresh(key: Array) -> Variables:
        shape = (1, data.size, data.size)
        planes = source.classes if fixed is not None else 2
        return network.init(key, jnp.zeros((*shape, 3)), jnp.zeros((*shape, planes)), train=False)

    def init(key: Array) -> Variables:
        return fresh(key) if start is None else pretrained.fitting(start, fresh(key))

    def loss(variables: Variables, batch: Example, key: Array) -> Loss:
        probabilities, updates = network.apply(
            variables, batch.image, batch.shown, train=True, mutable=["batch_stats"]
        )
        energies = energy(batch, probabilities, weights.beta)
        values = energies
        if weights.cross_entropy:
            values = values + weights.cross_entropy * cross_entropy(batch.seeds, probabilities)
        if weights.supervised:
            truth = jax.nn.one_hot(batch.mask, probabilities.shape[-1])
            values = values + weights.supervised * cross_entropy(truth, probabilities)
        return Loss(values, updates, {"energy": energies})

    def predict(variables: Variables, batch: Example) -> dict[str, Array]:
        probabilities: Any = network.apply(variables, batch.image, batch.shown, train=False)
        planes = probabilities.argmax(-1)
        labels = jax.vmap(lambda of, plane: of[plane])(batch.labels, planes)
        return {"labels": labels, "energy": energy(batch, probabilities, weights.beta)}

    def measure(index: int, example: Example, prediction: dict) -> dict[str, np.ndarray]:
        sums = {"count": 1, "loss": prediction["energy"]}
        truth = held_out.mask(index)
        if truth is not None:
            labels = images.resize_labels(prediction["labels"].astype(np.uint8), *truth.shape)
            sums["confusion"] = segmentation.confusion(labels, truth, held_out.classes)
        return sums

    def scores(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        result = {"loss": float(sums["loss"] / sums["count"])}
        if "confusion" in sums:
            result["mean_iou"] = segmentation.mean_iou(sums["confusion"])
        return result

    count = min(data.validation_count or len(held_out), len(held_out))
    return Experiment(
        init=init,
        example=example,
        name=lambda step, row: source.name(index_of(step, row)),
        loss=loss,
        validation=Evaluation(
            count,
            lambda i: whole(held_out[i], data.size, data.validation_labels, fixed),
        ),
        predict=predict,
        measure=measure,
        scores=scores,
        report=lambda variables, workdir: report(
            config,
            network,
            (variables, fresh(jax.random.key(config.train.seed))),
            reported,
            workdir,
            validated=count if reported is held_out else 0,
        ),
    )


def report(
    config: Config,
    network: nn.Module,
    weights: tuple[Variables, Variables],
    source: Source,
    workdir: Path,
    *,
    validated: int,
) -> Report:
    """The network beside the exact minimiser of the same energy, picture by picture.

    `weights` are the trained ones and fresh ones; the first `validated` pictures are those that
    were measured after each epoch.
    """
    data, wanted, variables = config.data, config.report, weights[0]
    fixed = np.arange(source.classes, dtype=np.int32) if config.network.head == "classes" else None
    apply = jax.jit(partial(network.apply, train=False))
    betas = tuple(wanted.betas)
    strengths = {"seed_weight": config.loss.seed_weight, "floor": config.loss.floor}
    exact = [f"exact, beta {beta:g}" for beta in betas]
    methods = ["network", "fresh network", *exact, "nearest seed"]
    confusions: dict[str, list] = {method: [] for method in methods}
    energies: dict[str, list] = {method: [] for method in methods}
    counts, drawn, told, unsolved = [], [], [], 0
    with progress_bar("comparing", len(source)) as bar:
        for index in range(len(source)):
            picture, truth = source[index], source.mask(index)
            counts.append(np.count_nonzero(seeds.labels_of(picture.seeds, 255) >= 0))
            example = whole(picture, data.size, data.validation_labels, fixed)
            inputs = example.image[None], example.shown[None]
            answers = {
                "network": np.asarray(apply(variables, *inputs))[0],
                "fresh network": np.asarray(apply(weights[1], *inputs))[0],
                "nearest seed": seeds.nearest(example.seeds),
            }
            with jax.enable_x64(True):
                problem = in_float64(example, config)
                for beta, method in zip(betas, exact, strict=True):
                    solution = solver.solve(problem, beta=beta, **strengths)
                    unsolved += not solution.converged
                    answers[method] = np.asarray(solution.value)
                for method, answer in answers.items():
                    y = jnp.asarray(answer, jnp.float64)
                    energies[method].append(
                        [
                            float(random_walker.energy(problem, y, beta=b, **strengths))
                            for b in betas
                        ]
                    )
            maps = {m: example.labels[a.argmax(-1)].astype(np.uint8) for m, a in answers.items()}
            if truth is not None:
                for method, labels in maps.items():
                    full = images.resize_labels(labels, *truth.shape)
                    confusions[method].append(segmentation.confusion(full, truth, source.classes))
            if index < wanted.pictures:
                shown, label = panel(example, answers, maps, exact[-1], truth, source.classes)
                drawn.append(shown)
                least = max(energies[exact[-1]][-1][-1], 1e-30)
                text = f"{picture.name}\nprobability: label {label}\n"
                text += f"E network / exact: {energies['network'][-1][-1] / least:.3g}"
                if truth is not None:
                    of = [segmentation.mean_iou(confusions[m][-1]) for m in ("network", exact[-1])]
                    text += "\nIoU network {:.3f}\nIoU exact {:.3f}".format(*of)
                told.append(text)
            bar.advance()
    if drawn:
        solved = f"exact, β = {betas[-1]:g}"
        titles = ["image and seeds\n(white: label 0)", f"{solved}:\nprobability"]
        titles += ["network:\nprobability", "truth", f"{solved}:\nlabels", "network:\nlabels"]
        draw_grid(workdir / "figures" / "pictures.png", titles, drawn, told)
    if validated and config.loss.beta in betas:
        of_exact = energies[exact[betas.index(config.loss.beta)]][:validated]
        line = float(np.mean(of_exact, axis=0)[betas.index(config.loss.beta)])
        draw_training(workdir, {"validation/loss": line})
    scores: dict[str, Any] = {"pictures": len(source), "unsolved": unsolved}
    rows, a_pixel = [], []
    for method in methods:
        means = np.mean(energies[method], axis=0)
        pixels = data.size**2
        score = {f"energy, beta {b:g}": float(e) for b, e in zip(betas, means, strict=True)}
        score |= {f"{name} a pixel": value / pixels for name, value in score.items()}
        quality = {}
        if confusions[method]:
            quality = segmentation.summary(np.stack(confusions[method]))
        score |= quality
        scores[method] = score
        rows.append([method, *(quality.get(name) for name in segmentation.SUMMARY), *means])
        a_pixel.append([method, *(means / pixels)])
    notes = [
        f"{len(source)} pictures at {data.size}×{data.size}; energies are means over pictures of "
        f"yᵀLy + λ(y−x)ᵀQ(y−x), λ = {config.loss.seed_weight:g}, floor {config.loss.floor:g}; "
        f"the network was trained at beta {config.loss.beta:g}."
    ]
    if unsolved:
        notes.append(f"{unsolved} exact solutions did not converge.")
    more = sum(count > data.validation_labels for count in counts) if fixed is None else 0
    if more:
        notes.append(
            f"{more} pictures have seeds of more than {data.validation_labels} labels "
            "(config.data.validation_labels); those of fewest seeds were left out, by all methods."
        )
    if confusions["network"]:
        each = {m: np.stack(c) for m, c in confusions.items()}
        for method in exact:
            difference = segmentation.bootstrap(each["network"], each[method], at_least=10)
            scores[f"network minus {method}"] = difference
            if np.isnan(difference[0]):
                continue
            notes.append(
                "Mean IoU of labels in 10 pictures, network minus {}: {:+.3f}, bootstrap over "
                "pictures 95 % [{:+.3f}, {:+.3f}].".format(method, *difference)
            )
    pretrained.save(
        workdir / "weights.safetensors",
        variables,
        settings={**config.network.to_dict(), "classes": source.classes},
        about={"config": json.loads(config.to_json_best_effort()), "scores": scores},
    )
    middle = int(np.abs(np.subtract(counts, np.mean(counts))).argmin())
    timed = whole(source[middle], data.size, min(counts[middle], data.validation_labels), fixed)
    timing = measure_speed(timed, config, apply, variables)
    dtypes = {"network": str(jnp.dtype(getattr(network, "trunk", network).dtype))}
    times = timing["seconds"]
    columns = ["method", *segmentation.SUMMARY, *(f"E, beta {beta:g}" for beta in betas)]
    tables = [
        Table("Scores", columns, rows),
        Table("Energy a pixel", ["method", *(f"E, beta {beta:g}" for beta in betas)], a_pixel),
        Table(
            f"Seconds for one picture of {data.size}×{data.size} and {timing['labels']} labels",
            ["method", "arithmetic", "seconds", "network is × faster"],
            [[m, dtypes.get(m, "float64"), t, t / times["network"]] for m, t in times.items()],
        ),
    ]
    title = "Seeded segmentation by the random-walker energy"
    return Report(title, scores, timing, tables, notes)


def in_float64(example: Example, config: Config) -> Seeded:
    """What the exact solver and the energy see; within `jax.enable_x64`."""
    seen = grayscale(example.image) if config.loss.grayscale else example.image
    return Seeded(*(jnp.asarray(a, jnp.float64) for a in (seen, example.seeds)))


def measure_speed(example: Example, config: Config, apply: Any, variables: Variables) -> dict:
    """Median seconds of network and exact solver for one picture, both compiled, on this device.

    The solver has no planes for labels that are not seeded, whatever the network has.
    """
    present = example.seeds.any((0, 1))
    inputs = jax.device_put((example.image[None], example.shown[None]))
    times = {"network": seconds(lambda: apply(variables, *inputs))}
    strengths = {"seed_weight": config.loss.seed_weight, "floor": config.loss.floor}
    with jax.enable_x64(True):
        problem = in_float64(example._replace(seeds=example.seeds[..., present]), config)
        for beta in config.report.betas:
            solve = partial(solver.solve, problem, beta=beta, **strengths)
            times[f"exact, beta {beta:g}"] = seconds(solve)
    return {"labels": int(present.sum()), "seconds": times}


def panel(
    example: Example, answers: dict, maps: dict, exact: str, truth: Any, classes: int
) -> tuple[list[np.ndarray | str], int]:
    """One row of pictures in the manner of the paper's Fig. 2, and the label of its probabilities.

    That is the first seeded label beside the background, or the background.
    """
    colours = label_colours(classes)
    strokes = example.seeds.any(-1)
    drawn = np.where(example.labels[:, None] == 0, 1.0, colours[example.labels])  # 0 is black there
    seeded = [k for k in np.flatnonzero(example.seeds.any((0, 1))) if example.labels[k] > 0]
    plane = seeded[0] if seeded else int(example.seeds.any((0, 1)).argmax())
    shown: np.ndarray | str = "no mask"
    if truth is not None:
        shown = colours[images.resize_labels(truth, *example.image.shape[:2])]
    pictures = [
        outlined(example.image, strokes, drawn[example.seeds.argmax(-1)]),
        np.clip(answers[exact][..., plane], 0, 1),
        np.clip(answers["network"][..., plane], 0, 1),
        shown,
        colours[maps[exact]],
        colours[maps["network"]],
    ]
    return pictures, int(example.labels[plane])


if __name__ == "__main__":
    run(make)

"""Seeded segmentation by the random-walker energy, from pictures and seeds alone.

    python -m experiments.seeded_seg --config=experiments/seeded_seg.py --workdir=runs/seg
    python -m experiments.seeded_seg --config=experiments/seeded_seg.py:paper --workdir=runs/paper \
        --config.data.source=folder --config.data.root=PICTURES

Variants: "full" (the default), "quickstart" (minutes on a laptop), "smoke" (seconds), "paper" (the
network, labels and schedule of the paper).
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from energynets.data import augment, images, seeds
from energynets.data.folder import Folder
from energynets.data.source import NO_SEED, VOID, Source
from energynets.energies import random_walker
from energynets.errors import BadInputError
from energynets.metrics import segmentation
from energynets.networks.dilated import Dilated
from energynets.networks.labels import Classes, PerLabel
from energynets.networks.pyramid import Pyramid
from energynets.ops.colour import grayscale
from energynets.seeded import Seeded
from energynets.training import loop
from energynets.training.experiment import Evaluation, Experiment, Loss


def get_config(variant: str = "full") -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict(
        {
            "source": "embedded",  # embedded, folder, tfds
            "root": "",  # of a folder or of prepared TFDS data
            "name": "oxford_iiit_pet",  # of a TFDS data set
            "train": "train",
            "validation": "val",
            "classes": 21,
            "seeds": "scribbles",  # or "masks": made from the masks as in the preprint
            "validation_count": 100,  # pictures measured after each epoch; 0: all
            "size": 128,
            "small_size": 64,  # for the first small_steps steps
            "small_steps": 0,
            "labels": 3,  # planes of one example in training, the labels of most seeds first
            "validation_labels": 6,
            "crop": 0.6,  # least side of a random square, in shorter sides; 0: never crop
            "turns": True,  # by quarters
            "hide": 0.5,  # share of examples that show the network a part of the seeds only
            "hide_least": 0.2,
            "skip_broken": False,
        }
    )
    config.network = ConfigDict(
        {
            "head": "per_label",  # or classes
            "trunk": "pyramid",  # or dilated
            "widths": (16, 32, 64, 96, 96),
            "blocks": 7,
            "width": 32,
            "padding": "zero",
            "norm": "batch",
            "relu_after_dilated": True,
            "norm_on_output": False,
            "dtype": "auto",  # bfloat16 on GPU and TPU, float32 on CPU
            "start_from": "",  # weights to begin with: a name, or a .safetensors file
        }
    )
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
            "source": "",  # what to report on; "": the validation pictures above
            "root": "",
            "split": "val",
            "betas": (100.0, 1000.0),
            "pictures": 6,
        }
    )
    if variant == "smoke":
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
    """One picture at the network's size; K planes stand for the labels in `labels`, -1 for none."""

    image: Float[np.ndarray, "s s 3"]
    seeds: Float[np.ndarray, "s s k"]  # all, for the energy
    shown: Float[np.ndarray, "s s k"]  # those that the network sees
    mask: Int[np.ndarray, "s s"]  # the true plane; -1 where unknown, and everywhere unsupervised
    labels: Int[np.ndarray, " k"]


def make_network(config: ConfigDict) -> Classes | PerLabel:
    """The head and trunk that `config.network` describes."""
    net = config.network
    dtype = jnp.dtype(_dtype(net.dtype))
    outputs = {"classes": config.data.classes, "per_label": 1}
    if net.head not in outputs:
        raise BadInputError(f"config.network.head: wanted classes or per_label, got {net.head!r}")
    if net.trunk == "pyramid":
        trunk = Pyramid(outputs[net.head], tuple(net.widths), dtype)
    elif net.trunk == "dilated":
        trunk = Dilated(
            outputs[net.head],
            blocks=net.blocks,
            width=net.width,
            padding=net.padding,
            norm=net.norm,
            relu_after_dilated=net.relu_after_dilated,
            norm_on_output=net.norm_on_output,
            dtype=dtype,
        )
    else:
        raise BadInputError(f"config.network.trunk: wanted pyramid or dilated, got {net.trunk!r}")
    if min(config.data.size, config.data.small_size) < trunk.least_size:
        raise BadInputError(
            f"config.data.size: wanted at least {trunk.least_size} pixels for this network, "
            f"got {min(config.data.size, config.data.small_size)}"
        )
    return Classes(trunk) if net.head == "classes" else PerLabel(trunk)


def _dtype(name: str) -> str:
    if name != "auto":
        return name
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def make_source(config: ConfigDict, split: str) -> Source:
    if config.data.source == "folder":
        return Folder(config.data.root, split, classes=config.data.classes)
    raise BadInputError(f"config.data.source: wanted folder, got {config.data.source!r}")


def make(config: ConfigDict) -> Experiment:
    """The task as a record of pure functions."""
    data, weights = config.data, config.loss
    network = make_network(config)
    source = make_source(config, data.train)
    held_out = make_source(config, data.validation)
    fixed = np.arange(data.classes, dtype=np.int32) if config.network.head == "classes" else None

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

    def whole(index: int) -> Example:
        """A held-out picture as it is, with all its seeds."""
        _, image, known = held_out[index]
        small = seeds.shrink(known, data.size)
        labels = fixed if fixed is not None else seeds.labels_of(small, data.validation_labels)
        planes = seeds.planes(small, labels)
        blank = np.full((data.size, data.size), -1, np.int32)
        return Example(images.resize(image, data.size), planes, planes, blank, labels)

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

    def init(key: Array) -> dict:
        shape = (1, data.size, data.size)
        planes = data.classes if fixed is not None else 2
        return network.init(key, jnp.zeros((*shape, 3)), jnp.zeros((*shape, planes)), train=False)

    def loss(variables: dict, batch: Example, key: Array) -> Loss:
        probabilities, updates = network.apply(
            variables, batch.image, batch.shown, train=True, mutable=["batch_stats"]
        )
        energies = energy(batch, probabilities, weights.beta)
        values = energies
        if weights.cross_entropy:
            values = values + weights.cross_entropy * cross_entropy(probabilities, batch.seeds)
        if weights.supervised:
            truth = jax.nn.one_hot(batch.mask, probabilities.shape[-1])
            values = values + weights.supervised * cross_entropy(probabilities, truth)
        return Loss(values, updates, {"energy": energies})

    def predict(variables: dict, batch: Example) -> dict[str, Array]:
        probabilities = network.apply(variables, batch.image, batch.shown, train=False)
        planes = probabilities.argmax(-1)
        labels = jax.vmap(lambda of, plane: of[plane])(batch.labels, planes)
        return {"labels": labels, "energy": energy(batch, probabilities, weights.beta)}

    def measure(index: int, example: Example, prediction: dict) -> dict[str, np.ndarray]:
        sums = {"count": 1, "loss": prediction["energy"]}
        truth = held_out.mask(index)
        if truth is not None:
            labels = images.resize_labels(prediction["labels"].astype(np.uint8), *truth.shape)
            sums["confusion"] = segmentation.confusion(labels, truth, data.classes)
        return sums

    def scores(sums: dict[str, np.ndarray]) -> dict[str, float]:
        result = {"loss": float(sums["loss"] / sums["count"])}
        if "confusion" in sums:
            result["mean_iou"] = segmentation.mean_iou(sums["confusion"])
        return result

    count = data.validation_count or len(held_out)
    return Experiment(
        init=init,
        example=example,
        name=lambda step, row: source.name(index_of(step, row)),
        loss=loss,
        validation=Evaluation(min(count, len(held_out)), whole),
        predict=predict,
        measure=measure,
        scores=scores,
        report=lambda variables, workdir: None,
    )


def cross_entropy(
    probabilities: Float[Array, "b h w k"], planes: Float[Array, "b h w k"]
) -> Float[Array, " b"]:
    """-Σ planes · log(probabilities), over the pixels where some plane is set, of each example."""
    return -(planes * jnp.log(jnp.clip(probabilities, 1e-7))).sum((1, 2, 3))

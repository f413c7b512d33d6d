"""Edge-preserving smoothing, Eq. 1 of "Deep Energy": a whole task of one's own in one file."""

from functools import partial

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from energynets.data import images, opening
from energynets.energies.random_walker import edge_weights
from energynets.networks import build
from energynets.ops.grid import differences
from energynets.training import loop, main, sources
from energynets.training.experiment import Config, Evaluation, Experiment, Loss


def get_config(variant: str = "full") -> Config:
    steps = {"full": 2000, "smoke": 4}[variant]
    config: Config = ConfigDict({"data": {**opening.DEFAULTS, "size": 64}})
    config.network = {**build.DEFAULTS, "trunk": "pyramid"}
    config.loss = {"beta": 100.0, "supervised": 0.0}
    config.train = loop.default_config()
    config.train.update({"steps": steps, "epoch": steps // 4, "rate": 2e-3, "schedule": "cosine"})
    return config


@jax.jit
def energy(x, y, *, beta):
    """yᵀLy + |y - x|², L the Laplacian of the grid with weights exp(-beta |x_i - x_j|²)."""
    w = partial(edge_weights, x, beta=beta, floor=0.0)
    smooth = sum((w(axis) * (differences(y, axis) ** 2).sum(-1)).sum() for axis in (0, 1))
    return smooth + ((y - x) ** 2).sum()


def make(config: Config) -> Experiment:
    source = sources.open_source(config.data, config.data.train, needs_seeds=False)
    held_out = sources.open_source(config.data, config.data.validation, needs_seeds=False)
    network, size = build.trunk(config.network, 3), config.data.size
    picture = lambda step, row: (step * config.train.batch + row) % len(source)  # noqa: E731

    def loss(variables, x, key):
        y, updates = network.apply(variables, x, True, mutable=["batch_stats"])
        energies = jax.vmap(partial(energy, beta=config.loss.beta))(x, y)
        labels = jax.image.resize(x[:, ::4, ::4], x.shape, "linear")  # in place of your own
        mistakes = ((y - labels) ** 2).sum((1, 2, 3))
        return Loss(energies + config.loss.supervised * mistakes, updates, {"energy": energies})

    return Experiment(
        init=lambda key: network.init(key, jnp.zeros((1, size, size, 3)), False),
        example=lambda step, row: images.resize(source[picture(step, row)].image, size),
        name=lambda step, row: source.name(picture(step, row)),
        loss=loss,
        validation=Evaluation(len(held_out), lambda i: images.resize(held_out[i].image, size)),
        predict=lambda variables, x: {"loss": loss(variables, x, None).logs["energy"]},
    )


if __name__ == "__main__":
    main.run(make)

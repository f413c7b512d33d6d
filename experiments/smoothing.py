"""Edge-preserving smoothing, Eq. 1 of "Deep Energy": a whole task of one's own in one file.

python -m experiments.smoothing --config=experiments/smoothing.py --workdir=runs/smoothing
"""

from functools import partial

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from energynets.data import images, opening
from energynets.energies.random_walker import edge_weights
from energynets.networks import build
from energynets.ops.grid import differences
from energynets.training import loop, main
from energynets.training.experiment import Config, Evaluation, Experiment, Loss


def get_config(variant: str = "full") -> ConfigDict:
    steps = {"full": 2000, "smoke": 4}[variant]
    config = ConfigDict({"data": {**opening.DEFAULTS, "size": 64}, "network": build.DEFAULTS})
    config.network.trunk = "pyramid"
    config.loss = ConfigDict({"beta": 100.0, "supervised": 0.0})
    config.train = loop.default_config()
    config.train.update({"steps": steps, "epoch": steps // 4, "rate": 2e-3, "schedule": "cosine"})
    return config


@jax.jit
def energy(x, y, *, beta):
    """yᵀLy + |y - x|², L the Laplacian of the grid with weights exp(-beta |x_i - x_j|²)."""
    weights = partial(edge_weights, x, beta=beta, floor=0.0)
    smooth = sum((weights(a)[..., None] * differences(y, a) ** 2).sum() for a in (0, 1))
    return smooth + ((y - x) ** 2).sum()


def make(config: Config) -> Experiment:
    source, _ = opening.open_source(config.data, config.data.train)
    held_out, _ = opening.open_source(config.data, config.data.validation)
    network, size = build.trunk(config.network, 3), config.data.size
    index = lambda step, row: (step * config.train.batch + row) % len(source)  # noqa: E731

    def loss(variables, batch, key):
        y, updates = network.apply(variables, batch, True, mutable=["batch_stats"])
        energies = jax.vmap(partial(energy, beta=config.loss.beta))(batch, y)
        blurred = jax.image.resize(batch[:, ::4, ::4], batch.shape, "linear")  # a made-up label
        supervised = ((y - blurred) ** 2).sum((1, 2, 3))
        return Loss(energies + config.loss.supervised * supervised, updates, {"energy": energies})

    return Experiment(
        init=lambda key: network.init(key, jnp.zeros((1, size, size, 3)), False),
        example=lambda step, row: images.resize(source[index(step, row)].image, size),
        name=lambda step, row: source.name(index(step, row)),
        loss=loss,
        validation=Evaluation(len(held_out), lambda i: images.resize(held_out[i].image, size)),
        predict=lambda v, x: {"loss": loss(v, x, None).values},
    )


if __name__ == "__main__":
    main.run(make)

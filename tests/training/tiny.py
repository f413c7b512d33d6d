"""A task so small that a whole run takes a second: a linear model, fitted to a known one.

python -m tests.training.tiny --config=tests/training/tiny.py --workdir=DIR
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from energynets.training import loop, main
from energynets.training.experiment import Evaluation, Experiment, Loss
from energynets.training.report import Report, Table

TRUTH = np.array([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]], np.float32)


def get_config(variant=""):
    config = ConfigDict()
    config.poison = (-1, -1)  # step and row of an example that is not a number
    config.noise = 0.1  # of the random numbers that the loss draws
    config.nap = 0.0  # seconds that loading an example takes
    config.validation = 5  # pictures
    config.train = loop.default_config()
    config.train.update(
        {"steps": 12, "batch": 8, "epoch": 4, "save_every": 1, "log_every": 1, "eval_batch": 8}
    )
    return config


def make(config):
    def pair(*seed):
        x = np.random.default_rng(seed).normal(size=3).astype(np.float32)
        return {"x": x, "y": x @ TRUTH}

    def example(step, row):
        time.sleep(config.nap)
        made = pair(0, step, row)
        if (step, row) == tuple(config.poison):
            made["y"] = made["y"] * np.nan
        return made

    def squares(variables, batch):
        error = batch["x"] @ variables["params"]["w"] + variables["params"]["b"] - batch["y"]
        return (error**2).sum(-1)

    def loss(variables, batch, key):
        drawn = jax.random.normal(key, batch["y"].shape)
        noise = (drawn * batch["y"]).mean(-1) * variables["params"]["b"].sum()
        seen = variables["statistics"]["seen"] * 0.5 + batch["x"].mean(0)
        values = squares(variables, batch) + config.noise * noise
        return Loss(values, {"statistics": {"seen": seen}}, {"squares": squares(variables, batch)})

    def report(variables, workdir):
        found = {k: np.asarray(v).ravel().tolist() for k, v in variables["params"].items()}
        seen = np.asarray(variables["statistics"]["seen"]).tolist()
        table = Table("Weights", ["w", "b"], [[found["w"][0], found["b"][0]]])
        return Report("A line", {**found, "seen": seen}, {"now": time.time()}, [table], ["Fitted."])

    return Experiment(
        init=lambda key: {
            "params": {"w": jax.random.normal(key, (3, 2)), "b": jnp.zeros(2)},
            "statistics": {"seen": jnp.zeros(3)},
        },
        example=example,
        name=lambda step, row: f"point-{step}-{row}",
        loss=loss,
        validation=Evaluation(config.validation, lambda index: pair(1, index)),
        predict=lambda variables, batch: {"loss": squares(variables, batch)},
        report=report,
    )


if __name__ == "__main__":
    main.run(make)

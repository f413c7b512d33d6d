"""The networks' forward pass and training step against the same networks in PyTorch, on the CPU.

python -m benchmarks.network [--size 128] [--batch 4] [--repeats 5] [--compiled]

Same layers, same weights, same batch of noise: the paper's `Dilated` (7 blocks, 32 wide) and
`Pyramid`, from 5 channels to 2 scores, in float32. A training step is the gradient of the scores'
mean square and a step of plain gradient descent; batch norm in training mode. Both compiled and
operation by operation (PyTorch's compiler on demand), ours with XLA's defaults and with the flag
that sends convolutions to its threaded kernels, a process each. All methods of a process take
turns. "error" is the largest difference of the scores from ours, relative to the largest; "memory"
of ours what XLA sets aside.

What was tried to close the gap: the flag below (2 times faster in training), NHWC and NCHW
(equal: XLA lays out anew), oneDNN (`--xla_cpu_use_onednn`: no help), dilated convolutions by
space-to-batch, shifted products or im2col (1.5 to 10 times slower), rematerialisation (slower),
smaller batches (time for a picture grows with the batch).
"""

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import child
from benchmarks.rows import OURS, Row, alternate, installed, missing, show
from energynets.networks.dilated import Dilated
from energynets.networks.pyramid import Pyramid

CHANNELS, OUT, RATE = 5, 2, 1e-3
NETWORKS = {"dilated": Dilated(OUT), "pyramid": Pyramid(OUT)}
FLAGS = {
    "XLA's defaults": "",
    "convolutions threaded": "--xla_cpu_experimental_ynn_fusion_type=dot",
}
Call = Callable[[], Any]


def _jax(network: Dilated | Pyramid, variables: Any, x: np.ndarray) -> dict[str, dict[str, Any]]:
    """Of either task: the compiled program and the function, both with arguments bound."""
    x = jnp.asarray(x)
    state = {key: value for key, value in variables.items() if key != "params"}

    def forward(params, x):
        return network.apply({"params": params, **state}, x, False)

    def loss(params, x):
        scores, _ = network.apply({"params": params, **state}, x, True, mutable=["batch_stats"])
        return jnp.square(scores).mean()

    def step(params, x):
        slope = jax.grad(loss)(params, x)
        return jax.tree.map(lambda p, g: p - RATE * g, params, slope)

    tasks = {}
    for task, function in (("forward", forward), ("training step", step)):
        program = jax.jit(function).lower(variables["params"], x).compile()
        tasks[task] = {"program": program, "function": function, "at": (variables["params"], x)}
    return tasks


def _torch(
    name: str, variables: Any, x: np.ndarray, compiled: bool, notes: list[str]
) -> dict[str, dict]:
    """Of either task: PyTorch's ways, by name."""
    import torch

    from benchmarks import torch_networks

    kind = {"dilated": torch_networks.Dilated, "pyramid": torch_networks.Pyramid}[name]
    tasks = {"forward": {}, "training step": {}}
    ways = ["PyTorch", "PyTorch, channels last"]
    for way in [*ways, "PyTorch, channels last, compiled"] if compiled else ways:
        network = kind(CHANNELS, OUT)
        torch_networks.copy_weights(network, variables)
        pictures = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        if "channels last" in way:
            network = network.to(memory_format=torch.channels_last)
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        called = torch.compile(network) if "compiled" in way else network

        def forward(network=network, called=called, pictures=pictures):
            network.eval()
            with torch.no_grad():
                return called(pictures)

        def step(network=network, called=called, pictures=pictures):
            network.train()
            network.zero_grad()
            called(pictures).square().mean().backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= RATE * parameter.grad

        try:
            forward(), step()
        except Exception as failure:  # torch.compile wants a C++ compiler
            notes.append(f"{way} does not run: {str(failure).splitlines()[0][:80]}")
            continue
        torch_networks.copy_weights(network, variables)
        tasks["forward"][way], tasks["training step"][way] = forward, step
    return tasks


def measure(
    name: str, flags: str, size: int, batch: int, repeats: int, compiled: bool
) -> list[Row]:
    """Both tasks of one network; in a process that was started with these flags."""
    x = np.random.default_rng(0).random((batch, size, size, CHANNELS), np.float32)
    network = NETWORKS[name]
    variables = jax.device_get(network.init(jax.random.key(0), jnp.asarray(x), False))
    notes: list[str] = []
    theirs = {}
    if installed("torch"):
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        theirs = _torch(name, variables, x, compiled, notes)
    rows = []
    for task, ours in _jax(network, variables, x).items():
        program, function, at = ours["program"], ours["function"], ours["at"]
        contenders: dict[str, Call] = {
            OURS: lambda program=program, at=at: jax.block_until_ready(program(*at)),
            **theirs.get(task, {}),
        }
        if not flags:
            contenders["ours, operation by operation"] = lambda f=function, at=at: (
                jax.block_until_ready(f(*at))
            )
        scores = np.asarray(contenders[OURS]()) if task == "forward" else None
        case = f"{name}, {batch}×{size}×{size}, {next(k for k, v in FLAGS.items() if v == flags)}"
        differ = {}
        if scores is not None:
            for way, call in theirs.get(task, {}).items():
                other = call().numpy().transpose(0, 2, 3, 1)
                differ[way] = float(np.abs(other - scores).max() / np.abs(scores).max())
        for method, taken in alternate(contenders, repeats).items():
            row = {"comparison": task, "case": case, "method": method, **taken}
            if method in differ:
                row["error"] = differ[method]
            if method == OURS:
                row["memory"] = program.memory_analysis().temp_size_in_bytes
            rows.append(row)
        if not theirs:
            rows.append(missing(task, case, "PyTorch", "torch"))
        rows += [
            {"comparison": task, "case": case, "method": "PyTorch, compiled", "note": note}
            for note in notes
        ]
    return rows


def rows(
    *, size: int = 128, batch: int = 4, repeats: int = 5, compiled: bool = False
) -> Iterator[Row]:
    """Both networks under both flags; `torch.compile` too if `compiled`, which takes minutes."""
    for name in NETWORKS:
        for flags in FLAGS.values():
            yield from child.run(
                "benchmarks.network:measure",
                timeout=1800,
                # Threads that spin while they wait would take the other library's cores.
                environment={
                    "XLA_FLAGS": flags,
                    "JAX_PLATFORMS": "cpu",
                    "OMP_WAIT_POLICY": "PASSIVE",
                },
                **{"name": name, "flags": flags, "size": size, "batch": batch},
                **{"repeats": repeats, "compiled": compiled},
            )


def quick() -> Iterator[Row]:
    return rows(size=32, batch=2, repeats=2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Networks against PyTorch's.")
    for name, default in (("size", 128), ("batch", 4), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--compiled", action="store_true", help="torch.compile too, some minutes")
    show(rows(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()

"""`networks.Dilated` and `networks.Pyramid` in PyTorch, with the weights of ours."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Dilated(nn.Module):
    """Zero padding, batch norm, ReLU after the dilated convolution."""

    def __init__(self, channels: int, out: int, blocks: int = 7, width: int = 32):
        super().__init__()
        dilations = [1] + [d for block in range(blocks) for d in (1, 1, 2**block)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width if i else channels, width, 3, padding=d, dilation=d, bias=False)
            for i, d in enumerate(dilations)
        )
        # PyTorch's momentum is the weight of the new value.
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, 1e-3, 0.01) for _ in dilations)
        self.last = nn.Conv2d(width, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = zip(self.convolutions, self.norms, strict=True)
        steps = [lambda x, c=c, n=n: functional.relu(n(c(x))) for c, n in layers]
        x = steps[0](x)
        for first in range(1, len(steps), 3):
            inner = x
            for step in steps[first : first + 3]:
                inner = step(inner)
            x = x + inner
        return self.last(x)


class Pyramid(nn.Module):
    """For heights and widths that are multiples of 2^(levels - 1)."""

    def __init__(self, channels: int, out: int, widths: tuple[int, ...] = (16, 32, 64, 96, 96)):
        super().__init__()
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        self.levels = len(widths)

        def block(width: int) -> None:
            for _ in range(2):
                self.convolutions.append(nn.Conv2d(width, width, 3, padding=1))
                self.norms.append(nn.GroupNorm(min(8, width // 2), width, 1e-6))

        self.convolutions.append(nn.Conv2d(channels, widths[0], 3, padding=1))
        for level, width in enumerate(widths):
            if level:
                self.convolutions.append(nn.Conv2d(widths[level - 1], width, 2, stride=2))
            block(width)
        for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.convolutions.append(nn.Conv2d(below, width, 1))
            block(width)
        self.last = nn.Conv2d(widths[0], out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        convolutions, norms = iter(self.convolutions), iter(self.norms)

        def block(x: torch.Tensor) -> torch.Tensor:
            inner = functional.relu(next(norms)(next(convolutions)(x)))
            return functional.relu(x + next(norms)(next(convolutions)(inner)))

        x = next(convolutions)(x)
        levels = []
        for level in range(self.levels):
            if level:
                x = next(convolutions)(x)
            x = block(x)
            levels.append(x)
        for features in levels[-2::-1]:
            x = functional.interpolate(next(convolutions)(x), scale_factor=2, mode="nearest")
            x = block(x + features)
        return self.last(x)


def copy_weights(network: nn.Module, variables: Mapping[str, Any]) -> None:
    """Gives `network` the parameters of ours, whose layers were made in the same order."""
    convolutions, norms = [], []
    for path, layer in _layers(variables["params"]):
        (convolutions if "Conv" in path else norms).append(layer)
    theirs = [*network.convolutions, network.last]
    for module, layer in zip(theirs, convolutions, strict=True):
        _set(module.weight, np.transpose(layer["kernel"], (3, 2, 0, 1)))
        if module.bias is not None:
            _set(module.bias, layer["bias"])
    for module, layer in zip(network.norms, norms, strict=True):
        _set(module.weight, layer["scale"])
        _set(module.bias, layer["bias"])
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()  # as in ours, which are fresh


def _layers(tree: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Layers in the order in which they were made; what is nested comes before the last one."""

    def order(name: str) -> tuple[bool, str, int]:
        stem, number = re.fullmatch(r"(\w+)_(\d+)", name).groups()
        return "Features" not in stem, stem, int(number)

    for name in sorted(tree, key=order):
        if any(isinstance(value, Mapping) for value in tree[name].values()):
            yield from _layers(tree[name])
        else:
            yield name, tree[name]


def _set(parameter: torch.Tensor, value: Any) -> None:
    value = torch.from_numpy(np.array(value))
    if value.shape != parameter.shape:
        raise ValueError(f"wanted {tuple(parameter.shape)}, got {tuple(value.shape)}")
    with torch.no_grad():
        parameter.copy_(value)

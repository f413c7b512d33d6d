"""ResNet-18, -50 and -101 at output stride 8, for dense prediction."""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from energynets.errors import BadInputError

Depth = Literal[18, 50, 101]
_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_EPSILON = 1e-5  # of the published weights


def pooled(x: Float[Array, "b h w c"], stride: int) -> Float[Array, "b m n c"]:
    """The largest of 3×3 pixels, ⌈h/stride⌉×⌈w/stride⌉ of them, as torch pools with padding 1."""
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    strides = (1, stride, stride, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), strides, around)


class Norm(nn.Module):
    """Batch norm; frozen, statistics, scale and shift are constants. Both have the same variables.

    Frozen is for weights that were trained before and for batches of one picture.
    """

    frozen: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        size = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (size,))
        bias = self.param("bias", nn.initializers.zeros, (size,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (size,))
        var = self.variable("batch_stats", "var", jnp.ones, (size,))
        center, spread = mean.value, var.value
        if self.frozen:
            center, spread, scale, bias = jax.lax.stop_gradient((center, spread, scale, bias))
        elif train:
            wide = x.astype(jnp.float32)
            center = wide.mean((0, 1, 2))
            spread = jnp.square(wide - center).mean((0, 1, 2))
            if not self.is_initializing():
                mean.value = 0.9 * mean.value + 0.1 * jax.lax.stop_gradient(center)
                var.value = 0.9 * var.value + 0.1 * jax.lax.stop_gradient(spread)
        gain = scale * jax.lax.rsqrt(spread + _EPSILON)
        return ((x - center) * gain + bias).astype(self.dtype)


class Block(nn.Module):
    """1×1, 3×3, 1×1 (`bottleneck`) or 3×3, 3×3, with a skip around them.

    `entry` is the dilation of the convolution that had a stride; the others have `dilation`.
    """

    width: int
    stride: int
    entry: int
    dilation: int
    bottleneck: bool
    frozen: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        def conv(y: Array, name: str, width: int, side: int, stride: int, dilation: int) -> Array:
            pad = dilation * (side // 2)
            return nn.Conv(
                width,
                (side, side),
                stride,
                padding=((pad, pad), (pad, pad)),
                kernel_dilation=dilation,
                use_bias=False,
                kernel_init=nn.initializers.variance_scaling(2, "fan_out", "normal"),
                dtype=self.dtype,
                name=name,
            )(y)

        def norm(y: Array, name: str) -> Array:
            return Norm(self.frozen, self.dtype, name=name)(y, train)

        out = 4 * self.width if self.bottleneck else self.width
        if self.bottleneck:
            y = nn.relu(norm(conv(x, "conv1", self.width, 1, 1, 1), "bn1"))
            y = nn.relu(norm(conv(y, "conv2", self.width, 3, self.stride, self.entry), "bn2"))
            y = norm(conv(y, "conv3", out, 1, 1, 1), "bn3")
        else:
            y = nn.relu(norm(conv(x, "conv1", self.width, 3, self.stride, self.entry), "bn1"))
            y = norm(conv(y, "conv2", out, 3, 1, self.dilation), "bn2")
        if x.shape != y.shape:
            x = norm(conv(x, "downsample_0", out, 1, self.stride, 1), "downsample_1")
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Image to features: b×⌈h/8⌉×⌈w/8⌉×512 of depth 18, ×2048 of depth 50 and 101.

    The strides of the last two stages are replaced by dilations 2 and 4, so that published weights
    fit. Names of the variables are those of torchvision and timm; see `from_torch`. Colours are to
    be normalised as the weights' authors did.
    Source: He et al., "Deep Residual Learning for Image Recognition"; Yu, Koltun, Funkhouser,
    "Dilated Residual Networks" for the dilation.

    Attributes:
        depth: 18, 50 or 101.
        frozen: whether batch norm is a constant.
        dtype: of the computation; parameters stay float32.
    """

    depth: Depth
    frozen: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Float[Array, "b m n d"]:
        if self.depth not in _BLOCKS:
            raise ValueError(f"depth must be 18, 50 or 101, got {self.depth}")
        x = nn.Conv(
            64,
            (7, 7),
            2,
            padding=((3, 3), (3, 3)),
            use_bias=False,
            kernel_init=nn.initializers.variance_scaling(2, "fan_out", "normal"),
            dtype=self.dtype,
            name="conv1",
        )(image)
        x = nn.relu(Norm(self.frozen, self.dtype, name="bn1")(x, train))
        x = pooled(x, 2)
        before = 1
        stages = zip(_BLOCKS[self.depth], (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
        for stage, (blocks, stride, dilation) in enumerate(stages):
            for block in range(blocks):
                first = block == 0
                x = Block(
                    64 * 2**stage,
                    stride if first else 1,
                    before if first else dilation,
                    dilation,
                    self.depth > 18,
                    self.frozen,
                    self.dtype,
                    name=f"layer{stage + 1}_{block}",
                )(x, train)
            before = dilation
        return x


def from_torch(
    state: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """A ResNet's `variables` with the weights of torchvision's or timm's state file.

    Args:
        state: names to arrays, such as `safetensors.numpy.load_file(path)` gives, or
            `{k: v.numpy() for k, v in torch.load(path).items()}`. The classifier (`fc.…`) and
            counters of batches are passed over.
        variables: of a `ResNet` of the same depth and number of channels.

    Raises:
        BadInputError: naming the first array that is missing, of another shape, or left over.
    """
    used: set[str] = set()

    def fetched(path: tuple[Any, ...], old: Array) -> Array:
        *modules, leaf = (part.key for part in path)
        name = ".".join(modules).replace("downsample_", "downsample.").replace("_", ".")
        renamed = {"kernel": "weight", "scale": "weight", "bias": "bias"}
        name += "." + renamed.get(leaf, f"running_{leaf}")
        if name not in state:
            raise BadInputError(f"the state file has no array {name}")
        used.add(name)
        array = np.asarray(state[name])
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        if array.shape != old.shape:
            raise BadInputError(f"{name}: wanted {old.shape}, got {array.shape}")
        return jnp.asarray(array, old.dtype)

    loaded = {
        kind: jax.tree_util.tree_map_with_path(fetched, dict(variables[kind]))
        for kind in ("params", "batch_stats")
    }
    ignored = ("fc.", "classifier.")
    for name in state:
        if name not in used and not name.startswith(ignored) and "num_batches" not in name:
            raise BadInputError(f"the state file has an array that this depth lacks: {name}")
    return loaded

"""The cascade of dilated residual blocks that the Deep Energy papers train."""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = Literal["zero", "reflect"]
Norm = Literal["batch", "group", "none"]


class Dilated(nn.Module):
    """Image to scores at full resolution: `blocks` residual blocks of dilation 1, 2, 4, …

    Each block is conv, conv, dilated conv, all 3×3 and `width` wide, each followed by norm and
    ReLU, with an additive skip around it; a first 3×3 convolution reaches the width and a last
    1×1 convolution gives `out` scores. No pooling. Seven blocks see 285 pixels across.
    Convolutions before a norm have no bias: the norm takes it away again, so that its gradient is
    rounding noise, which Adam makes as large as any other.
    Source: Golts, Freedman, Elad, "Deep Energy", Sec. IV and Fig. 2.

    Attributes:
        out: channels of the result.
        blocks: number of blocks; the last one has dilation 2^(blocks - 1).
        width: channels inside.
        padding: of every convolution; reflection needs an image larger than the last dilation.
        norm: batch norm, group norm (8 groups: independent of the batch), or none.
        relu_after_dilated: the preprint leaves this ReLU out.
        norm_on_output: the authors' code normalises the scores as well, the paper does not.
        dtype: of the computation; parameters stay float32.
    """

    out: int
    blocks: int = 7
    width: int = 32
    padding: Padding = "zero"
    norm: Norm = "batch"
    relu_after_dilated: bool = True
    norm_on_output: bool = False
    dtype: Any = jnp.float32

    @property
    def least_size(self) -> int:
        """The smallest height and width that the network takes."""
        return 2 ** (self.blocks - 1) + 1 if self.padding == "reflect" else 1

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w out"]:
        if min(image.shape[1:3]) < self.least_size:
            raise ValueError(
                f"image must be at least {self.least_size} pixels high and wide for {self.blocks} "
                f"blocks with {self.padding} padding, got {image.shape[1]}×{image.shape[2]}"
            )
        hidden = nn.relu(self._norm(self._conv(image), train))
        for block in range(self.blocks):
            inner = nn.relu(self._norm(self._conv(hidden), train))
            inner = nn.relu(self._norm(self._conv(inner), train))
            inner = self._norm(self._conv(inner, dilation=2**block), train)
            if self.relu_after_dilated:
                inner = nn.relu(inner)
            hidden = hidden + inner
        scores = nn.Conv(
            self.out,
            (1, 1),
            use_bias=self.norm == "none" or not self.norm_on_output,
            kernel_init=nn.initializers.normal(0.1),
        )(hidden)
        return self._norm(scores, train) if self.norm_on_output else scores

    def _conv(self, x: Array, dilation: int = 1) -> Array:
        if self.padding == "reflect":
            x = jnp.pad(x, ((0, 0), (dilation, dilation), (dilation, dilation), (0, 0)), "reflect")
        return nn.Conv(
            self.width,
            (3, 3),
            kernel_dilation=dilation,
            padding="VALID" if self.padding == "reflect" else "SAME",
            use_bias=self.norm == "none",
            kernel_init=nn.initializers.normal(0.1),
            dtype=self.dtype,
        )(x)

    def _norm(self, x: Array, train: bool) -> Array:
        if self.norm == "batch":
            # Momentum and epsilon of the authors' code.
            return nn.BatchNorm(not train, momentum=0.99, epsilon=1e-3, dtype=self.dtype)(x)
        if self.norm == "group":
            groups = 8 if x.shape[-1] % 8 == 0 else 1
            return nn.GroupNorm(groups, dtype=self.dtype)(x)
        return x

"""DeepLab's segmentation networks: VGG-16 with a large field of view, and ResNets."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from energynets.errors import BadInputError
from energynets.networks.resnet import Depth, ResNet, pooled

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """Image to features at output stride 8, b×⌈h/8⌉×⌈w/8⌉×512, and what each pooling gave.

    The thirteen 3×3 convolutions of VGG-16 with ReLU; poolings are 3×3, the first three of stride
    2, the last two of stride 1, and the last stage is dilated by 2. No batch norm.
    Source: Simonyan and Zisserman; Chen et al., "Semantic Image Segmentation with Deep
    Convolutional Nets and Fully Connected CRFs".
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> tuple[Array, list[Array]]:
        x, pools = image, []
        for stage, widths in enumerate(_STAGES):
            for index, width in enumerate(widths):
                name = f"conv{stage + 1}_{index + 1}"
                x = nn.relu(_conv(width, 3, 2 if stage == 4 else 1, self.dtype, name)(x))
            stride = 2 if stage < 3 else 1
            x = pooled(x, stride)
            pools.append(x)
        return x, pools


def from_torch(
    state: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """A `VGG16`'s `variables` with the convolutions of torchvision's or timm's VGG-16 state file.

    Args:
        state: names to arrays, as in `resnet.from_torch`. The classifier (`classifier.…`,
            `pre_logits.…`, `head.…`) is passed over.
        variables: of a `VGG16` with the same number of channels.

    Raises:
        BadInputError: naming the first array that is missing, of another shape, or left over, as
            those of the form with batch norm are.
    """
    used, place, params = set(), 0, {}
    for stage, widths in enumerate(_STAGES):
        for index in range(len(widths)):
            layer = f"conv{stage + 1}_{index + 1}"
            params[layer] = {}
            for leaf, old in variables["params"][layer].items():
                name = f"features.{place}.{'weight' if leaf == 'kernel' else 'bias'}"
                if name not in state:
                    raise BadInputError(f"the state file has no array {name}")
                array = np.asarray(state[name])
                array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
                if array.shape != old.shape:
                    raise BadInputError(f"{name}: wanted {old.shape}, got {array.shape}")
                params[layer][leaf] = jnp.asarray(array, old.dtype)
                used.add(name)
            place += 2  # the ReLU after it
        place += 1  # the pooling
    for name in state:
        if name not in used and not name.startswith(("classifier.", "pre_logits.", "head.")):
            raise BadInputError(f"the state file has an array that VGG-16 lacks: {name}")
    return {"params": params}


def _conv(width: int, side: int, dilation: int, dtype: Any, name: str, stride: int = 1) -> nn.Conv:
    pad = dilation * (side // 2)
    return nn.Conv(
        width,
        (side, side),
        stride,
        padding=((pad, pad), (pad, pad)),
        kernel_dilation=dilation,
        kernel_init=nn.initializers.he_normal(),
        dtype=dtype,
        name=name,
    )


def _resized(scores: Array, image: Array) -> Array:
    """To the picture's size, bilinearly, in float32."""
    shape = (*image.shape[:3], scores.shape[-1])
    return jax.image.resize(scores.astype(jnp.float32), shape, "bilinear")


class LargeFOV(nn.Module):
    """DeepLab-largeFOV: image to `out` scores at full resolution.

    VGG-16 at stride 8, then 3×3 of dilation 12 and 1×1, both 1024 wide, with ReLU and dropout, and
    a 1×1 convolution to scores, which are resized bilinearly. With `multi_scale`, "MSc": the image
    and the first four poolings each pass a 3×3 and a 1×1 convolution, 128 wide, and join the last
    features, all at stride 8.

    Attributes:
        out: number of labels.
        multi_scale: see above.
        dropout: share dropped after both wide convolutions in training; the caller gives the
            rng "dropout" then.
        dtype: of the computation; parameters stay float32.
    """

    out: int
    multi_scale: bool = False
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w out"]:
        x, pools = VGG16(self.dtype, name="vgg")(image)
        for name, side, dilation in (("fc6", 3, 12), ("fc7", 1, 1)):
            x = nn.relu(_conv(1024, side, dilation, self.dtype, name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.multi_scale:
            parts = [x]
            for index, (source, stride) in enumerate(
                zip([image, *pools[:4]], (8, 4, 2, 1, 1), strict=True)
            ):
                name = f"scale{index}"
                y = nn.relu(_conv(128, 3, 1, self.dtype, f"{name}_1", stride)(source))
                parts.append(nn.relu(_conv(128, 1, 1, self.dtype, f"{name}_2")(y)))
            x = jnp.concatenate(parts, -1)
        scores = nn.Conv(self.out, (1, 1), kernel_init=nn.initializers.normal(0.01), name="fc8")(x)
        return _resized(scores, image)


class DeepLabResNet(nn.Module):
    """DeepLab with a ResNet at stride 8: image to `out` scores at full resolution.

    Parallel 3×3 convolutions of the given dilations straight to scores, summed, then resized
    bilinearly. Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional
    Nets, Atrous Convolution, and Fully Connected CRFs" (version 2).

    Attributes:
        out: number of labels.
        depth: 18, 50 or 101.
        rates: dilations of the last layer; (12,) is a large field of view alone.
        frozen: whether batch norm is a constant.
        dtype: of the computation; parameters stay float32.
    """

    out: int
    depth: Depth = 101
    rates: tuple[int, ...] = (6, 12, 18, 24)
    frozen: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w out"]:
        x = ResNet(self.depth, self.frozen, self.dtype, name="resnet")(image, train)
        scores = sum(
            nn.Conv(
                self.out,
                (3, 3),
                kernel_dilation=rate,
                padding=((rate, rate), (rate, rate)),
                kernel_init=nn.initializers.normal(0.01),
                name=f"rate{rate}",
            )(x)
            for rate in self.rates
        )
        return _resized(jnp.asarray(scores), image)

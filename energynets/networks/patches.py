"""The ConvNet on patches of the total-variation paper, applied to all pixels at once."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


def local_response_norm(
    x: Float[Array, "*n c"], *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Float[Array, "*n c"]:
    """x_c / (2 + α Σ x_j²)^β, summed over the `size` channels around c.

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
    Networks", Sec. 3.3, whose k, n, α and β these are.
    """
    ends = [(0, 0)] * (x.ndim - 1) + [(size // 2, size // 2)]
    squares = jnp.pad(jnp.square(x), ends)
    channels = x.shape[-1]
    near = sum(squares[..., shift : shift + channels] for shift in range(size))
    return x * (2 + alpha * near) ** -beta


def _pooled(x: Array, step: int) -> Array:
    """The largest of x at p, p + step below, beside and both; `step` fewer rows and columns."""
    x = jnp.maximum(x[:, :-step], x[:, step:])
    return jnp.maximum(x[:, :, :-step], x[:, :, step:])


class PatchConvNet(nn.Module):
    """The class of the pixel in the middle of each 46×46 patch: image to scores at full size.

    Four times [3×3 convolution, ReLU, 2×2 max-pooling, local response norm], a fully connected
    layer with ReLU, and one to the scores. On a patch of 46×46, convolved without padding, the
    fourth pooling leaves one pixel. Here the strides of the poolings are replaced by dilations of
    what follows, which gives the same for every pixel and shares all work between patches. The
    image is continued by its border.

    Attributes:
        out: number of labels.
        width: of the convolutions, 64 in the paper.
        hidden: of the fully connected layer, 512 in the paper.

    Source: Javanmardi et al., "Unsupervised Total Variation Loss for Semi-supervised Deep Learning
    of Semantic Segmentation", Sec. 5, which gives neither the size of the patch nor of the
    poolings.
    """

    out: int
    width: int = 64
    hidden: int = 512

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w out"]:
        del train
        x = jnp.pad(image, ((0, 0), (22, 23), (22, 23), (0, 0)), "edge")
        for dilation in (1, 2, 4, 8):
            conv = nn.Conv(self.width, (3, 3), padding="VALID", kernel_dilation=dilation)
            x = local_response_norm(_pooled(nn.relu(conv(x)), dilation))
        x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(self.out, kernel_init=nn.initializers.normal(0.01))(x)

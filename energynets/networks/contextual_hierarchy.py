"""The cascaded contextual hierarchy of the total-variation paper: classifiers at several scales."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def halved(planes: Float[Array, "b h w k"]) -> Float[Array, "b m n k"]:
    """The largest of 2×2 pixels; an odd last row or column is doubled."""
    height, width = planes.shape[1:3]
    planes = jnp.pad(planes, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    return nn.max_pool(planes, (2, 2), (2, 2))


class Classifier(nn.Module):
    """Two 3×3 convolutions with ReLU and a 1×1 convolution to scores."""

    out: int
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w out"]:
        for _ in range(2):
            x = nn.relu(nn.GroupNorm(self.width // 4)(nn.Conv(self.width, (3, 3))(x)))
        return nn.Conv(self.out, (1, 1), kernel_init=nn.initializers.normal(0.1))(x)


class ContextualHierarchy(nn.Module):
    """Image to scores at full size, and the scores of the classifier at each level.

    Bottom-up: level l sees the image at 1/2^l of the resolution and the probabilities of all levels
    before it, brought down by the largest of 2×2. Top-down: the last classifier sees the image and
    the probabilities of every level, brought up by repetition, at full resolution. Each level is
    trained by its own loss on labels that are brought down alike, and its probabilities are
    constants to those above it, as in the cascade. The first and the last are those at full size,
    of which the paper asks total variation.

    Attributes:
        out: number of labels.
        widths: of the classifiers, one a level, the finest first.

    Source: Seyedhosseini, Sajjadi, Tasdizen, "Image Segmentation with Cascaded Hierarchical Models
    and Logistic Disjunctive Normal Networks"; Javanmardi et al., "Unsupervised Total Variation Loss
    for Semi-supervised Deep Learning of Semantic Segmentation", Sec. 4. Their classifiers are
    logistic disjunctive normal networks on features made by hand; ours are small convolutional
    ones.
    """

    out: int
    widths: tuple[int, ...] = (16, 32, 48)

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], train: bool
    ) -> tuple[Float[Array, "b h w out"], list[Float[Array, "b _ _ out"]]]:
        del train
        height, width = image.shape[1:3]
        seen, levels, probabilities = image, [], []
        for level, channels in enumerate(self.widths):
            if level:
                shape = (image.shape[0], *halved(seen).shape[1:3], image.shape[-1])
                seen = jax.image.resize(seen, shape, "linear")
                probabilities = [halved(p) for p in probabilities]
            levels.append(
                Classifier(self.out, channels)(jnp.concatenate([seen, *probabilities], -1))
            )
            probabilities.append(jax.lax.stop_gradient(jax.nn.softmax(levels[-1])))
        raised = []
        for level, scores in enumerate(levels):
            own = jax.lax.stop_gradient(jax.nn.softmax(scores))
            raised.append(own.repeat(2**level, 1).repeat(2**level, 2)[:, :height, :width])
        last = Classifier(self.out, self.widths[0])(jnp.concatenate([image, *raised], -1))
        return last, levels

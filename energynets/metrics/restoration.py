"""Scores of restored pictures against clear ones, and the stretch that some apply before them."""

from typing import Any

import numpy as np
from jaxtyping import Float

from energynets.errors import BadInputError

Image = Float[np.ndarray, "h w c"]

LEAST_SIDE = 11  # of pictures that SSIM can be taken of: its window reaches 5 pixels far


def psnr(image: Image, truth: Image) -> float:
    """10 log₁₀ (1 / mean (I - I*)²) in dB, over all pixels and channels together; inf if equal.

    Both in [0, 1]; `image` is clipped to it.
    """
    error = np.square(np.clip(np.asarray(image, float), 0, 1) - truth).mean()
    return float(-10 * np.log10(error)) if error > 0 else float("inf")


def ssim(image: Image, truth: Image) -> float:
    """Mean structural similarity, in [-1, 1], over channels and all pixels but 5 at each border.

    Gaussian window of σ = 1.5, covariances of the whole population, data range 1, K₁ = 0.01 and
    K₂ = 0.03 as Wang, Bovik, Sheikh, Simoncelli (2004) give them. `image` is clipped to [0, 1].
    Early scikit-image took a range of 2 for pictures of floats, which gives higher scores; those of
    "Deep Energy" seem to be such.

    Raises:
        BadInputError: for pictures less than 11 pixels high or wide, or without scikit-image.
    """
    if min(truth.shape[:2]) < LEAST_SIDE:
        raise BadInputError(
            f"SSIM: wanted pictures of at least {LEAST_SIDE}×{LEAST_SIDE} pixels, got "
            f"{truth.shape[1]}×{truth.shape[0]}"
        )
    try:
        from skimage.metrics import structural_similarity
    except ModuleNotFoundError:
        raise BadInputError(
            "SSIM: wanted scikit-image, got no such package; pip install energynets[experiments]"
        ) from None
    value: Any = structural_similarity(
        np.asarray(truth, float),
        np.clip(np.asarray(image, float), 0, 1),
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
    )
    return float(value)


def stretch(image: Image) -> Image:
    """(I - min I) / (max I - min I), extremes taken over all pixels and channels: into [0, 1].

    The authors of "Deep Energy" apply it to dehazed pictures before they are scored, which the
    paper does not mention. It is no part of dehazing: it brightens a hazy picture as well, so that
    scores with it say something only beside those of the hazy picture stretched. A picture of one
    value has nothing to stretch and is clipped to [0, 1].
    """
    image = np.asarray(image, float)
    least, most = image.min(), image.max()
    if not most > least:
        return np.clip(image, 0, 1)
    return np.clip((image - least) / (most - least), 0, 1)

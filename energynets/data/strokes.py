"""Seeds and scribbles that somebody drew, read from a file of any usual kind."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from energynets.data.images import held_upright
from energynets.data.planes import channels
from energynets.data.source import NO_SEED
from energynets.data.trimaps import BACKGROUND, FOREGROUND, UNKNOWN, quantised
from energynets.errors import BadInputError

# Levels by which a pixel of a picture and its copy under the scribbles may differ: JPEG does that.
_SAME = 12


def read_seeds(path: str | Path, *, encoded: bytes | None = None) -> UInt8[np.ndarray, "h w"]:
    """The label at each seeded pixel, 255 elsewhere.

    Labels are grey values or palette indices, in RGB or RGBA the value that the channels share.
    What is see-through is no seed. Of 16 bits, values below 255 are labels and all others none.
    The camera's rotation is applied. `encoded` as in `images.read_image`.

    Raises:
        BadInputError: as `images.read_image`, and if the file holds colours instead of labels.
    """
    picture = held_upright(path, encoded)
    if picture.mode == "P":
        return np.array(picture, np.uint8)
    if picture.mode.startswith("I"):
        values = np.asarray(picture, np.int64)
        return np.where((values >= 0) & (values < NO_SEED), values, NO_SEED).astype(np.uint8)
    if picture.mode not in ("1", "L", "LA", "RGB", "RGBA", "PA"):
        raise BadInputError(
            f"{path}: wanted labels as a grey or palette image, got mode {picture.mode}"
        )
    colours, seen = channels(picture)
    if np.ptp(colours[seen].astype(np.int16), axis=-1).any():
        raise BadInputError(f"{path}: wanted labels as grey values or palette indices, got colours")
    return np.where(seen, colours[..., 0], NO_SEED).astype(np.uint8)


def read_scribbles(
    path: str | Path, image: Float32[np.ndarray, "h w 3"] | None = None
) -> UInt8[np.ndarray, "h w"]:
    """Strokes of black (background) and white (foreground), as a trimap of 0, 128 and 255.

    Three kinds of files are understood: strokes over a copy of the picture, as Levin's, where what
    equals the picture is unknown; strokes on grey or see-through ground; and maps of labels, 0 for
    background, 1 for foreground and 255 for none.

    Args:
        path: the file; its camera's rotation is applied.
        image: the upright picture in [0, 1]; without it, or if its size is another, no file counts
            as a copy of it.

    Raises:
        BadInputError: as `images.read_image`.
    """
    picture = held_upright(path)
    colours, seen = channels(picture)
    found = set(np.unique(colours))
    if 1 in found and found <= {0, 1, 255}:
        labels = np.array([BACKGROUND, FOREGROUND, *[UNKNOWN] * 254], np.uint8)
        return np.where(seen, labels[colours[..., 0]], UNKNOWN).astype(np.uint8)
    # The lightest and the darkest channel decide: a colour is neither black nor white.
    dark, light = quantised(colours.max(-1)), quantised(colours.min(-1))
    strokes = np.where(dark == BACKGROUND, dark, np.where(light == FOREGROUND, light, UNKNOWN))
    if image is not None and image.shape == colours.shape:
        same: np.ndarray = np.abs(colours - 255 * image).max(-1) <= _SAME
        ground = strokes == UNKNOWN
        if ground.any() and same[ground].mean() > 0.5:
            strokes[same] = UNKNOWN
    return np.where(seen, strokes, UNKNOWN).astype(np.uint8)

"""Trimaps: where a picture shows background, where foreground, and where nobody knows."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from energynets.data.images import held_upright
from energynets.data.planes import channels, read_grey
from energynets.errors import BadInputError

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255

# Black and white are allowed to be off by so much: a trimap saved as JPEG is.
_SLACK = 12
# A grey mask that is nowhere brighter holds labels, not brightness.
_LABELS = 64

Trimap = UInt8[np.ndarray, "h w"]


def read_trimap(path: str | Path, *, encoded: bytes | None = None) -> Trimap:
    """0 in the background, 255 in the foreground, 128 where it is unknown.

    Black is background and white is foreground; every grey between (102, 127 and 128 are usual)
    and what is see-through is unknown. Grey, palette, RGB, RGBA, 1 to 16 bits; the camera's
    rotation is applied. `encoded` as in `images.read_image`.

    Raises:
        BadInputError: as `images.read_image`, and if the file holds colours.
    """
    values, seen = read_grey(path, encoded=encoded)
    trimap = quantised(values)
    trimap[~seen] = UNKNOWN
    return trimap


def quantised(values: UInt8[np.ndarray, "h w"]) -> Trimap:
    """Grey levels of 0 to 255 as 0, 128 or 255: black, anything between, white."""
    return np.select(
        [values <= _SLACK, values >= 255 - _SLACK], [BACKGROUND, FOREGROUND], UNKNOWN
    ).astype(np.uint8)


def refuse_one_sided(trimap: Trimap, name: str | Path) -> None:
    """Raises BadInputError, saying which is missing, where there is no foreground or background."""
    present = [("foreground", (trimap == FOREGROUND).any())]
    present.append(("background", (trimap == BACKGROUND).any()))
    absent = [what for what, there in present if not there]
    if absent:
        raise BadInputError(
            f"{name}: wanted foreground and background, got no {' and no '.join(absent)}"
        )


def planes(trimap: Trimap) -> Float32[np.ndarray, "h w 2"]:
    """Seed planes of background and foreground, in {0, 1}; both 0 where it is unknown."""
    return np.stack([trimap == BACKGROUND, trimap == FOREGROUND], -1).astype(np.float32)


def read_mask(path: str | Path, *, encoded: bytes | None = None) -> Trimap:
    """An object's mask as a trimap without a band: 255 on the object, 0 elsewhere, 128 if void.

    - see-through pictures: the object is what is not see-through;
    - palettes with colours, as VOC's: the object is every index but 0, and 255 is void;
    - grey pictures that are nowhere brighter than 63: those hold labels, the object is all but 0;
    - others: the object is where the brightest channel is at half or above.

    Raises:
        BadInputError: as `images.read_image`.
    """
    picture = held_upright(path, encoded)
    colours, seen = channels(picture)
    if not seen.all():
        return np.where(seen, FOREGROUND, BACKGROUND).astype(np.uint8)
    if picture.mode == "P" and np.ptp(colours.astype(np.int16), axis=-1).any():
        index = np.asarray(picture, np.uint8)
        mask = np.where(index == 0, BACKGROUND, FOREGROUND)
        return np.where(index == 255, UNKNOWN, mask).astype(np.uint8)
    brightest = colours.max(-1)
    least = 1 if picture.mode == "L" and brightest.max(initial=0) < _LABELS else 128
    return np.where(brightest >= least, FOREGROUND, BACKGROUND).astype(np.uint8)


def from_mask(mask: Trimap, width: float) -> Trimap:
    """A mask with an unknown band of `width` pixels to either side of the object's border.

    A pixel is unknown where another kind lies within `width` of it, from centre to centre; what
    was unknown stays so, and its border counts as a border.

    Raises:
        BadInputError: if the width is not a finite number of at least 0.
    """
    if not 0 <= width < float("inf"):
        raise BadInputError(f"width: wanted a finite number of at least 0, got {width}")
    trimap = mask.copy()
    for kind in (BACKGROUND, FOREGROUND):
        here: Bool[np.ndarray, "h w"] = mask == kind
        if not here.all():
            trimap[here & (np.asarray(ndimage.distance_transform_edt(here)) <= width)] = UNKNOWN
    return trimap

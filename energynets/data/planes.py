"""Maps that belong to a picture, read tolerantly: their orientation, grey values and see-through.

People draw seeds, masks and trimaps in many programs, which save them as grey, palette or colour
pictures, with or without transparency, with 8 or 16 bits, upright or as the camera held them.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from energynets.data.images import decoded, held_upright
from energynets.errors import BadInputError

_EXIF_ORIENTATION = 0x0112
# How far apart the channels of a picture that is meant to be grey may lie: JPEG moves them a bit.
_COLOURLESS = 24


class Plane(NamedTuple):
    """A map as grey levels.

    values: H×W, 0 to 255; palettes by their colours, 16 bits and floats by their share of white.
    seen: H×W, False where the file is see-through by half or more.
    """

    values: UInt8[np.ndarray, "h w"]
    seen: Bool[np.ndarray, "h w"]


def orientation(path: str | Path) -> int:
    """How the camera was held, 1 to 8 as EXIF counts; 1 where the file does not say."""
    picture = decoded(Path(path), None)
    try:
        held = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged, see `held_upright`
        return 1
    return held if held in range(1, 9) else 1


def upright(array: np.ndarray, held: int) -> np.ndarray:
    """Rows and columns turned as EXIF orientation `held` asks, as `ImageOps` turns pictures."""
    if held in (5, 7):
        array = np.swapaxes(array, 0, 1)
    if held in (2, 4):
        return array[:, ::-1] if held == 2 else array[::-1]
    return np.rot90(array, {3: 2, 6: 3, 7: 2, 8: 1}.get(held, 0))


def aligned(
    plane: UInt8[np.ndarray, "h w"], path: str | Path, shape: tuple[int, ...], held: int = 1
) -> UInt8[np.ndarray, "m n"]:
    """The map on the grid of its picture.

    As it is where the sizes agree. A map that was drawn over the picture as the camera stored it,
    by a program that does not look at EXIF, is turned as the picture was.

    Args:
        plane: the map, its own EXIF rotation applied.
        path: of its file, for the message.
        shape: of the upright picture; its first two entries count.
        held: orientation of the picture's file.

    Raises:
        BadInputError: if the sizes differ either way.
    """
    height, width = shape[:2]
    if plane.shape == (height, width):
        return plane
    turned = upright(plane, held)
    if turned.shape == (height, width):
        return np.ascontiguousarray(turned)
    raise BadInputError(
        f"{path}: wanted the size of its image, {width}×{height}, "
        f"got {plane.shape[1]}×{plane.shape[0]}"
    )


def read_grey(path: str | Path, *, encoded: bytes | None = None) -> Plane:
    """A picture that is meant to be grey, in whatever mode it was saved.

    Raises:
        BadInputError: as `read_image`, and if the file holds colours.
    """
    picture = held_upright(path, encoded)
    colours, seen = channels(picture)
    if int(np.ptp(colours.astype(np.int16), axis=-1).max(initial=0)) > _COLOURLESS:
        raise BadInputError(f"{path}: wanted a picture without colours, got one with colours")
    return Plane(np.rint(colours.mean(-1)).astype(np.uint8), seen)


def channels(picture: Image.Image) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """RGB of 8 bits, and where the picture is not see-through."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, np.float64), nan=0.0)
        white = 1.0 if picture.mode == "F" else 65535.0
        grey = np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1), np.ones(grey.shape, bool)
    rgba = np.asarray(picture.convert("RGBA"), np.uint8)
    return rgba[..., :3], rgba[..., 3] >= 128

"""Reading pictures, seed maps and masks from disk, and saying plainly why one cannot be read."""

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from energynets.errors import BadInputError

MAX_PIXELS = 50_000_000  # a larger picture is taken for a decompression bomb

_OPENING = threading.Lock()


def decoded(path: Path, encoded: bytes | None) -> Image.Image:
    """The picture as Pillow has it, wholly decoded; the one place where reading can fail.

    The camera's rotation is not applied. With `encoded` nothing is opened, as in `read_image`.

    Raises:
        BadInputError: as `read_image`.
    """
    try:
        # Read first: a picture that is refused, or an animation, leaves no open file behind.
        content = path.read_bytes() if encoded is None else encoded
        if not content:
            raise BadInputError(f"{path}: wanted a readable image, got an empty file")
        stream = io.BytesIO(content)
        # Pillow's own limits lie above ours: it warns from 89 million pixels on, which is silenced
        # because we refuse, and raises from 179 million on, before the size is known. The filters
        # of `warnings` belong to the whole process, hence the lock.
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(stream)
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise BadInputError(
                f"{path}: wanted an image of at most {MAX_PIXELS} pixels, got {width}×{height}"
            )
        picture.load()
    except FileNotFoundError:
        raise BadInputError(f"{path}: wanted an image file, got no such file") from None
    except Image.DecompressionBombError as error:
        raise BadInputError(
            f"{path}: wanted an image of at most {MAX_PIXELS} pixels, got: {error}"
        ) from None
    except UnidentifiedImageError:
        raise BadInputError(f"{path}: wanted a readable image, got an unknown format") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{path}: wanted a readable image, got: {error}") from None
    return picture


def held_upright(path: str | Path, encoded: bytes | None = None) -> Image.Image:
    """The decoded picture, turned as the camera's EXIF says; as it is where that is damaged."""
    picture = decoded(Path(path), encoded)
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ImageOps.exif_transpose(picture)
    except Exception:  # whatever Pillow makes of damaged tags
        return picture


def read_image(path: str | Path, *, encoded: bytes | None = None) -> Float32[np.ndarray, "h w 3"]:
    """The picture as RGB in [0, 1]: grey, palette, RGBA (alpha dropped), CMYK and 16-bit as well.

    The camera's rotation (EXIF) is applied. Colours of 16 bits are read with 8 of them, grey with
    all. With `encoded`, the bytes of a file, nothing is opened and `path` serves for messages.

    Raises:
        BadInputError: naming the file, if it is missing, unreadable, truncated or too large.
    """
    picture = held_upright(path, encoded)
    if picture.mode.startswith("I") or picture.mode == "F":
        grey = np.asarray(picture, np.float32)
        scale = 65535.0 if picture.mode.startswith("I") else 1.0
        return np.repeat(np.clip(grey / scale, 0, 1)[..., None], 3, axis=-1)
    if picture.mode == "P":  # by way of RGBA, since Pillow warns of see-through palettes
        picture = picture.convert("RGBA")
    return np.asarray(picture.convert("RGB"), np.float32) / 255


def read_labels(path: str | Path, *, encoded: bytes | None = None) -> UInt8[np.ndarray, "h w"]:
    """The map of labels of a mask or of seeds: grey values or palette indices, never colours.

    White is 255, and so void or no seed, in images of 1 bit too. `encoded` as in `read_image`.

    Raises:
        BadInputError: as `read_image`, and if the file holds colours instead of labels.
    """
    path = Path(path)
    picture = decoded(path, encoded)
    if picture.mode not in ("L", "P", "1"):
        raise BadInputError(
            f"{path}: wanted labels as an 8-bit grey or palette image, got mode {picture.mode}"
        )
    return np.asarray(picture.convert("L") if picture.mode == "1" else picture, np.uint8)


def resize(image: Float32[np.ndarray, "h w 3"], size: int) -> Float32[np.ndarray, "s s 3"]:
    """To size × size, bilinear with support scaled to the reduction, aspect not kept."""
    return resize_planes(image, size, size)


def resize_planes(
    planes: Float32[np.ndarray, "h w k"], height: int, width: int
) -> Float32[np.ndarray, "height width k"]:
    """Colours or probabilities, in [0, 1], as `resize` does."""
    resized = [
        Image.fromarray(np.ascontiguousarray(planes[..., c])).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for c in range(planes.shape[-1])
    ]
    return np.clip(np.stack([np.asarray(c, np.float32) for c in resized], -1), 0, 1)


def resize_labels(
    labels: UInt8[np.ndarray, "h w"], height: int, width: int
) -> UInt8[np.ndarray, "height width"]:
    """By nearest neighbour: for label maps on their way back to full size, not for strokes."""
    return np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))

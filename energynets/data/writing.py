"""Writing pictures whole or not at all, and finding out beforehand whether that is possible."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from energynets.errors import BadInputError

LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".npy")
ENDINGS = (*LOSSLESS, ".jpg", ".jpeg", ".webp")

Picture = Float[np.ndarray, "h w c"] | Float[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]


def refuse_unwritable(path: Path, *, exact: bool = False) -> None:
    """Finds out by a trial whether a file can be written there; leaves nothing behind.

    Args:
        path: of the file; one that is there already stays as it is.
        exact: values must come back as they are, so that JPEG and WebP will not do.

    Raises:
        BadInputError: in one line, if not.
    """
    endings = LOSSLESS if exact else ENDINGS
    if path.suffix.lower() not in endings:
        got = path.suffix or "no ending"
        raise BadInputError(f"{path}: wanted a name ending in {', '.join(endings)}, got {got}")
    if path.is_dir():
        raise BadInputError(f"{path}: wanted a file to write, got a folder")
    if path.exists() and not os.access(path, os.W_OK):
        raise BadInputError(f"{path}: wanted a file that may be replaced, got one that may not")
    refuse_unwritable_folder(path.parent)


def refuse_unwritable_folder(folder: Path) -> None:
    """As `refuse_unwritable`, of a folder, which must be there."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInputError(
            f"{folder}: wanted a folder to write in, got: {error.strerror or error}"
        ) from None


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, found at `path` whole once the block has ended, and never in part.

    Raises:
        OSError: if it cannot be written; what was at `path` before is still there.
    """
    handle, name = tempfile.mkstemp(prefix=".energynets-", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)  # temporary files are for their owner alone
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_picture(path: Path, picture: Picture) -> None:
    """The picture in the format of its ending; bytes as they are, floats in [0, 1] with 8 bits.

    `.npy` keeps floats as they are. Written beside its place and then moved there, so that nobody
    finds half a picture, nor loses one that was there before.

    Raises:
        BadInputError: if it cannot be written.
    """
    ending = path.suffix.lower()
    try:
        with whole(path) as file:
            if ending == ".npy":
                np.save(file, picture)
            else:
                # Pillow knows these by their endings, and needs a name for the format.
                kind = Image.registered_extensions()[ending]
                better = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
                Image.fromarray(eight_bits(picture)).save(file, kind, **better)
    except OSError as error:
        raise BadInputError(
            f"{path}: wanted to write the result, got: {error.strerror or error}"
        ) from None


def eight_bits(picture: Picture) -> UInt8[np.ndarray, "..."]:
    """Floats in [0, 1] as 0 to 255, rounded; bytes as they are."""
    if picture.dtype == np.uint8:
        return np.ascontiguousarray(picture)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)

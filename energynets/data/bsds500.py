"""BSDS500: the borders that several people drew in a photograph, put together to one mask."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage
from scipy.io import loadmat

from energynets.data.folder import Folder
from energynets.errors import BadInputError


class BSDS500(Folder):
    """`ROOT/images/NAME.jpg`, `ROOT/groundTruth/NAME.mat`, `ROOT/SPLIT.txt`.

    Label 1 is where at least half of the people drew a border at most two rows and two columns
    away, 0 the rest: people agree on what they draw, not on its very pixel. Every picture has
    its `.mat` file; nothing is seeded unless there is `ROOT/scribbles/`.

    Raises:
        BadInputError: as `Folder`; while masks are read, if a `.mat` file is missing, unreadable,
            of another size than its image, or without the data set's
            `groundTruth{person}.Boundaries`.

    Source: Arbeláez, Maire, Fowlkes, Malik, "Contour Detection and Hierarchical Image
    Segmentation", whose scores match borders one to one within .0075 of the diagonal (4 pixels)
    instead.
    """

    def __init__(self, root: str | Path, split: str):
        super().__init__(root, split, classes=2, masks="groundTruth", ending=".mat", whole=True)

    def _mask(self, path: Path) -> UInt8[np.ndarray, "h w"]:
        return agreed(borders(path))


def borders(path: str | Path) -> Bool[np.ndarray, "p h w"]:
    """What each person drew, from a `.mat` file as BSDS500 has it: version 5, compressed.

    Raises:
        BadInputError: if the file is missing, unreadable, or holds other things.
    """
    try:
        content = Path(path).read_bytes()
        _check(content)
        found = loadmat(io.BytesIO(content))
    except FileNotFoundError:
        raise BadInputError(f"{path}: wanted a .mat file, got no such file") from None
    except Exception as error:  # whatever SciPy makes of damaged bytes
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInputError(f"{path}: wanted a readable .mat file, got: {told}") from None
    try:
        planes = np.stack([of["Boundaries"][0, 0] for of in found["groundTruth"].ravel()])
        if planes.ndim != 3 or planes.dtype.kind not in "biuf" or not planes.size:
            raise ValueError
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise BadInputError(
            f"{path}: wanted groundTruth{{person}}.Boundaries, maps of one size, got others"
        ) from None
    return planes != 0


def _check(content: bytes) -> None:
    """Holds every variable against its checksum, since damaged ones can crash SciPy's reader."""
    place = 128  # after the header: kind and length of each variable, and the variable
    while place < len(content):
        kind, length = struct.unpack_from("<II", content, place)
        if kind != 15:
            raise ValueError("a variable that is not compressed")
        zlib.decompress(content[place + 8 : place + 8 + length])
        place += 8 + length


def agreed(drawn: Bool[np.ndarray, "p h w"], *, within: int = 2) -> UInt8[np.ndarray, "h w"]:
    """1 where half of the people or more drew a border within so many rows and columns, else 0."""
    width = 2 * within + 1
    near = ndimage.maximum_filter(drawn.astype(np.uint8), (1, width, width)).sum(0, dtype=int)
    return (2 * near >= len(drawn)).astype(np.uint8)

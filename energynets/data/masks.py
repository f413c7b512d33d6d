"""Seeds and two-class problems made from masks, as the Deep Energy preprint makes them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from energynets.data.source import NO_SEED, VOID, Picture, Source
from energynets.errors import BadInputError

# A piece below this share of the picture is "very small". The preprint gives no number; its 6,200
# problems out of VOC's 6,929 segmented objects say that about one object in ten was dropped.
LEAST = 0.005


class Piece(NamedTuple):
    """A connected part (4 neighbours) of one label.

    label: 0 is the background, anything above it an object.
    region: H×W, true on the part's own pixels.
    """

    label: int
    region: Bool[np.ndarray, "h w"]


def pieces(mask: UInt8[np.ndarray, "h w"], *, least: float = LEAST) -> list[Piece]:
    """The connected parts of every label that cover at least the share `least` of the mask.

    In order of label, then of first row and column. Void (255) belongs to none and parts what it
    runs between; two objects of one label that touch are one piece.
    """
    found = []
    for label in np.flatnonzero(np.bincount(mask.ravel(), minlength=VOID)[:VOID]):
        numbered = np.empty(mask.shape, np.int32)
        ndimage.label(mask == label, output=numbered)
        sizes = np.bincount(numbered.ravel())
        large = np.flatnonzero(sizes >= least * mask.size)
        found.extend(Piece(int(label), numbered == part) for part in large[large > 0])
    return found


def objects(mask: UInt8[np.ndarray, "h w"], *, least: float = LEAST) -> list[Piece]:
    """The `pieces` that are not background: the preprint makes one problem out of each."""
    return [piece for piece in pieces(mask, least=least) if piece.label != 0]


def two_class(mask: UInt8[np.ndarray, "h w"], piece: Piece) -> UInt8[np.ndarray, "h w"]:
    """The mask of one object against the rest: 1 on the piece, 0 elsewhere, void stays 255.

    The rest holds the background and every other object alike. `piece` is one of `objects(mask)`.
    """
    isolated = piece.region.astype(np.uint8)
    isolated[mask == VOID] = VOID
    return isolated


def from_mask(
    mask: UInt8[np.ndarray, "h w"],
    random: np.random.Generator,
    *,
    least: float = LEAST,
    length: float = 0.5,
    diameter: float = 0.3,
    width: float = 3.0,
) -> UInt8[np.ndarray, "h w"]:
    """Seeds as the preprint draws them: one line or one circle in each piece, background as well.

    The marker lies at the centre of mass where that is inside the piece, else at a pixel of it
    drawn at random; line or circle, and the line's direction, are drawn too. What falls outside
    the piece is cut off, so a seed never says anything false, and the marker's own centre always
    stays: a label has a seed if at least one piece of it is large enough, and none if not.

    Lengths of the markers are ours, since the preprint gives none.

    Args:
        mask: labels, 255 where void.
        random: where all the choices come from; the same state draws the same seeds.
        least: pieces below this share of the mask's pixels get no marker.
        length: of the longest line, in units of the square root of the piece's area; the
            shortest is half as long.
        diameter: of a circle (filled), in the same units.
        width: of a line, in pixels.

    Returns:
        The label at a seeded pixel, 255 elsewhere.
    """
    seeds = np.full(mask.shape, NO_SEED, np.uint8)
    for piece in pieces(mask, least=least):
        rows, columns = np.nonzero(piece.region)
        row, column = round(rows.mean()), round(columns.mean())
        anywhere = random.integers(len(rows))
        if not piece.region[row, column]:
            row, column = rows[anywhere], columns[anywhere]
        scale = np.sqrt(len(rows))
        line, angle, stretch = random.random(3)
        if line < 0.5:
            reach, radius = length * scale / 2, width / 2
        else:
            reach, radius = 0.0, diameter * scale / 2
        reach *= 0.5 + 0.5 * stretch
        # A marker is all that lies within `radius` of a stretch of line; a circle's has no length.
        box = np.s_[
            max(0, int(row - reach - radius)) : int(row + reach + radius) + 2,
            max(0, int(column - reach - radius)) : int(column + reach + radius) + 2,
        ]
        rows, columns = np.nonzero(piece.region[box])
        rows, columns = rows + box[0].start - row, columns + box[1].start - column
        down, across = np.sin(np.pi * angle), np.cos(np.pi * angle)
        along = np.clip(rows * down + columns * across, -reach, reach)
        near = np.hypot(rows - along * down, columns - along * across) <= radius
        seeds[rows[near] + row, columns[near] + column] = piece.label
    return seeds


class SeedsFromMasks:
    """The pictures of a source with the seeds of `from_mask` instead of its own.

    The one source whose examples look at masks: what it trains has seen a mark of each object.
    """

    def __init__(self, source: Source):
        self._source = source
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Picture:
        picture, mask = self._source[index], self._source.mask(index)
        if mask is None:
            raise BadInputError(f"{picture.name}: wanted a mask to make seeds from, got none")
        if mask.shape != picture.image.shape[:2]:
            raise BadInputError(
                f"{picture.name}: wanted a mask of the image's size, "
                f"{picture.image.shape[1]}×{picture.image.shape[0]}, "
                f"got {mask.shape[1]}×{mask.shape[0]}"
            )
        return picture._replace(seeds=from_mask(mask, np.random.default_rng((20242, index))))

    def name(self, index: int) -> str:
        return self._source.name(index)

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        return self._source.mask(index)

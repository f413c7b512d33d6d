"""What people pass as pictures, seeds and trimaps, made into float32 arrays or refused plainly."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from energynets.data import planes as grey
from energynets.data import trimaps
from energynets.data.source import NO_SEED
from energynets.errors import BadInputError


class Pictures(NamedTuple):
    """A batch of pictures of one size.

    values: B×H×W×C, float32 in [0, 1].
    one: a single picture was given, so that a single result is wanted.
    """

    values: Float32[np.ndarray, "b h w c"]
    one: bool


class Seeds(NamedTuple):
    """Seeds of a batch as planes.

    planes: B×H×W×K in {0, 1}, at most one of them 1 at a pixel.
    labels: what each plane stands for.
    """

    planes: Float32[np.ndarray, "b h w k"]
    labels: UInt8[np.ndarray, " k"]


def pictures(image: Any) -> Pictures:
    """NumPy and JAX arrays and Pillow images, or a list of these, as one batch.

    H×W is a grey picture, H×W×C one of C channels, B×H×W×C a batch, and so is a list of pictures
    of one size. Bytes are divided by 255, 16-bit integers by 65535; floats lie in [0, 1]. Of
    Pillow images see-through is dropped, and pixels are taken as they are stored, as
    `numpy.asarray` does, without looking at the camera's rotation.

    Raises:
        BadInputError: naming what came instead.
    """
    if isinstance(image, Sequence) and not isinstance(image, str | bytes):
        if not image:
            raise BadInputError("image: wanted at least one picture, got an empty list")
        each = [pictures(one) for one in image]
        shapes = sorted({p.values.shape[1:] for p in each})
        if len(shapes) > 1:
            told = ", ".join("×".join(map(str, shape)) for shape in shapes)
            raise BadInputError(f"image: wanted a batch of pictures of one size, got {told}")
        return Pictures(np.concatenate([p.values for p in each]), False)
    values = _numbers(image, "image")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim not in (3, 4):
        raise BadInputError(
            f"image: wanted H×W, H×W×C or a batch B×H×W×C, got shape {values.shape}"
        )
    if 0 in values.shape:
        raise BadInputError(f"image: wanted at least one pixel, got shape {values.shape}")
    one = values.ndim == 3
    return Pictures(values[None] if one else values, one)


def seeds(given: Any, like: Pictures) -> Seeds:
    """Seeds of `like`'s pictures, from a map of labels or from planes.

    A map has integers, one for each pixel: the label (0 to 254), or 255 for none. Its planes are
    those of the labels that occur, in rising order. Planes have one channel for each label, of 0
    and 1, and are named 0, 1, …. A batch of pictures takes a batch, a list, or one for all.

    Raises:
        BadInputError: naming what came instead; also if a picture has no seed at all.
    """
    batch, height, width, _ = like.values.shape
    array = _stacked(given, "seeds")
    if array.shape in ((height, width), (batch, height, width)):
        found, labels = _from_map(array)
    elif array.ndim in (3, 4) and array.shape[-3:-1] == (height, width):
        if array.shape[-1] > NO_SEED:
            raise BadInputError(f"seeds: wanted at most {NO_SEED} planes, got {array.shape[-1]}")
        found = array.astype(np.float32)
        labels = np.arange(array.shape[-1], dtype=np.uint8)
        if not np.isin(array, (0, 1)).all():
            raise BadInputError("seeds: wanted planes of 0 and 1, got other values")
        if found.sum(-1).max() > 1:
            raise BadInputError(
                "seeds: wanted at most one label at a pixel, got planes that overlap"
            )
    else:
        raise BadInputError(
            f"seeds: wanted {height}×{width} as the image, a map of labels or planes, got shape "
            f"{array.shape}"
        )
    found = _for_each(found, batch, "seeds", 3)
    for index, of_one in enumerate(found):
        if not of_one.any():
            which = "" if like.one else f" in picture {index}"
            raise BadInputError(f"seeds: wanted at least one seeded pixel, got none{which}")
    return Seeds(found, labels)


def trimap(given: Any, like: Pictures) -> UInt8[np.ndarray, "b h w"]:
    """Trimaps of `like`'s pictures, of 0, 128 and 255.

    Bytes or wider integers (0 background, 255 foreground, others unknown), 16-bit integers, floats
    in [0, 1] or bools, H×W with or without equal channels, or seed planes H×W×2 of background and
    foreground. A batch of pictures takes a batch, a list, or one for all.

    Raises:
        BadInputError: naming what came instead; also where foreground or background is missing.
    """
    batch, height, width, _ = like.values.shape
    if isinstance(given, Image.Image) or (
        isinstance(given, Sequence) and any(isinstance(one, Image.Image) for one in given)
    ):
        array = np.stack([_numbers(one, "trimap") for one in _several(given)])
    else:
        array = _array(given, "trimap")
        wide = array.dtype.kind in "iu" and array.dtype != np.uint16
        if wide and array.size and 0 <= array.min() <= array.max() <= 255:
            array = array.astype(np.uint8)  # as numpy.where makes them
        array = _numbers(array, "trimap")
    if array.shape[-3:] == (height, width, 2):
        kinds = array > 0.5
        if kinds.all(-1).any():
            raise BadInputError(
                "trimap: wanted at most one kind at a pixel, got planes overlapping"
            )
        levels = np.select([kinds[..., 0], kinds[..., 1]], [0, 255], 128).astype(np.uint8)
    else:
        if array.shape[-3:-1] == (height, width) and array.shape[-1] in (1, 3, 4):
            array = array[..., : 3 if array.shape[-1] > 1 else 1]
            if np.ptp(array, axis=-1).max() > 0.1:
                raise BadInputError("trimap: wanted a picture without colours, got colours")
            array = array.mean(-1)
        if array.shape not in ((height, width), (1, height, width), (batch, height, width)):
            raise BadInputError(
                f"trimap: wanted {height}×{width} as the image, got shape {array.shape}"
            )
        levels = trimaps.quantised(np.rint(255 * array).astype(np.uint8))
    levels = _for_each(levels, batch, "trimap", 2)
    for index, of_one in enumerate(levels):
        trimaps.refuse_one_sided(of_one, "trimap" if like.one else f"trimap {index}")
    return levels


def start(given: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A start for the solver: floats of that shape, batched or for one picture.

    Raises:
        BadInputError: naming what came instead.
    """
    array = _array(given, "start")
    if array.shape == shape[1:]:
        array = np.broadcast_to(array, shape)
    if array.shape != shape or not np.issubdtype(array.dtype, np.floating):
        raise BadInputError(
            f"start: wanted {what} of shape {shape[1:]}, got {array.dtype} of shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise BadInputError("start: wanted finite numbers, got others")
    if array.size and (array.min() < -1 or array.max() > 2):
        raise BadInputError(
            f"start: wanted numbers about [0, 1], got them from {array.min():g} to {array.max():g}"
        )
    return array.astype(np.float32)


def _from_map(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not np.issubdtype(array.dtype, np.integer):
        raise BadInputError(f"seeds: wanted a map of integers, got {array.dtype}")
    if array.min() < 0 or array.max() > NO_SEED:
        wrong = array.min() if array.min() < 0 else array.max()
        raise BadInputError(f"seeds: wanted labels from 0 to 254, or 255 for none, got {wrong}")
    labels = np.unique(array)
    labels = labels[labels != NO_SEED]
    if not labels.size:
        raise BadInputError("seeds: wanted at least one seeded pixel, got none")
    return (array[..., None] == labels).astype(np.float32), labels.astype(np.uint8)


def _for_each(array: np.ndarray, batch: int, what: str, axes: int) -> np.ndarray:
    """With a leading axis of the batch's length; one for all is repeated."""
    if array.ndim == axes:
        array = array[None]
    if len(array) not in (1, batch):
        raise BadInputError(f"{what}: wanted 1 or {batch} for {batch} pictures, got {len(array)}")
    return np.ascontiguousarray(np.broadcast_to(array, (batch, *array.shape[1:])))


def _several(given: Any) -> Sequence:
    return given if isinstance(given, Sequence) else [given]


def _stacked(given: Any, what: str) -> np.ndarray:
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        each = [_stacked(one, what) for one in given]
        if len({one.shape for one in each}) != 1:
            raise BadInputError(f"{what}: wanted a list of one size, got several or none")
        return np.stack(each)
    if isinstance(given, Image.Image):
        if given.mode not in ("L", "P", "1", "I", "I;16"):
            raise BadInputError(f"{what}: wanted a grey or palette image, got mode {given.mode}")
        return np.asarray(given.convert("L") if given.mode == "1" else given)
    return _array(given, what)


def number(name: str, given: Any, low: float, high: float) -> float:
    """`given`, a number from low to high.

    Raises:
        BadInputError: for anything else.
    """
    kind = getattr(given, "dtype", np.asarray(given).dtype).kind
    if kind not in "iuf" or np.ndim(given) > 0 or not low <= float(given) <= high:
        raise BadInputError(f"{name}: wanted a number from {low:g} to {high:g}, got {given!r:.40}")
    return float(given)


def _array(given: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, TypeError):
        raise BadInputError(
            f"{what}: wanted an array, got {type(given).__name__} that makes none"
        ) from None


def _numbers(given: Any, what: str) -> np.ndarray:
    """Floats in [0, 1] of an array or a Pillow image, in float32."""
    if isinstance(given, Image.Image):
        if given.mode.startswith("I") or given.mode == "F":
            return grey.channels(given)[0][..., 0].astype(np.float32) / 255
        if given.mode in ("1", "L"):
            return np.asarray(given.convert("L"), np.float32) / 255
        return grey.channels(given)[0].astype(np.float32) / 255
    array = _array(given, what)
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype == np.uint16:
        return array.astype(np.float32) / 65535
    if array.dtype == bool:
        return array.astype(np.float32)
    if array.dtype.kind != "f" and str(array.dtype) != "bfloat16":
        raise BadInputError(
            f"{what}: wanted bytes, 16-bit integers or floats in [0, 1], got {array.dtype}"
        )
    array = array.astype(np.float32)
    if array.size and not np.isfinite(array).all():
        raise BadInputError(f"{what}: wanted finite numbers, got others")
    if array.size and (array.min() < 0 or array.max() > 1):
        raise BadInputError(
            f"{what}: wanted floats in [0, 1], got them from {array.min():g} to {array.max():g}"
        )
    return array

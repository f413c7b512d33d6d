"""Data sets of TensorFlow Datasets as sources, read by index and without TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from tensorflow_datasets.core.download import download_manager

from energynets.data import images, masks
from energynets.data import pet_segmentation as pet_segmentation  # so that TFDS knows the names
from energynets.data import voc_segmentation as voc_segmentation
from energynets.data.source import NO_SEED, VOID, Picture
from energynets.errors import BadInputError

PETS = ((1, 1), (2, 0), (3, VOID))  # relabels the trimaps of "oxford_iiit_pet": pet, rest, border
_SALT = 20241

_UNPREPARED = (
    OSError,  # no network, no such file
    ImportError,  # TensorFlow is wanted for this data set
    AssertionError,  # TFDS says so of files that it wants in manual_dir
    ValueError,
    tfds.download.DownloadError,
    download_manager.NonMatchingChecksumError,
)


def prepare(
    name: str, *, data_dir: str | Path | None = None, manual_dir: str | Path | None = None
) -> None:
    """Downloads the data set if need be and writes it in the format that `Tfds` reads.

    "voc_segmentation" and "pet_segmentation" are ours. Some of TFDS's own need TensorFlow for this
    step, among them "oxford_iiit_pet"; none does afterwards.

    Args:
        name: as TFDS knows it, with a configuration where there are several: "NAME/CONFIG".
        data_dir: where prepared data sets lie; TFDS's own folder if None.
        manual_dir: where files lie that were downloaded by hand.

    Raises:
        BadInputError: if there is no such data set, or it cannot be downloaded or written.
    """
    builder = _builder(name, data_dir)
    try:
        builder.download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(
                manual_dir=manual_dir, try_download_gcs=False
            ),
        )
    except BadInputError:
        raise
    except _UNPREPARED as error:
        raise BadInputError(
            f"{name}: wanted to prepare it in {builder.data_dir}, got "
            f"{type(error).__name__}: {_one_line(error)}"
        ) from error


class Tfds:
    """A prepared data set with an image and a mask, or an image and scribbles.

    Seeds are taken from the feature `scribbles` if one is named. Else they are drawn from the
    mask by `masks.from_mask`, always the same ones at the same index: beside `mask`, which is for
    reports, this is the only place where the mask is looked at.

    Images and masks are decoded by `images`, not by TFDS, so that palettes, grey pictures and the
    like mean what they mean in a folder.

    Args:
        name: as TFDS knows it, with a configuration where there are several: "NAME/CONFIG".
        split: as TFDS writes it: "train", "train[:80%]", "train+test".
        classes: labels run from 0 to classes - 1, once they are relabelled.
        image, mask, scribbles: features that are images; of scribbles, 255 is none.
        title: the feature that names a picture, a text; if None, split and index do.
        relabel: pairs of a value as the mask or the scribbles hold it, and the label that it
            stands for (255: void or none); other values stay. `PETS` is one.
        data_dir: where prepared data sets lie; TFDS's own folder if None.

    Raises:
        BadInputError: if the data set is not known, not prepared, or prepared in a format that
            cannot be read by index; if there is no such split or feature; while reading, if a
            map does not have its image's size or holds a label out of range.
    """

    def __init__(
        self,
        name: str,
        split: str,
        *,
        classes: int,
        image: str = "image",
        mask: str | None = "segmentation_mask",
        scribbles: str | None = None,
        title: str | None = None,
        relabel: Sequence[tuple[int, int]] = (),
        data_dir: str | Path | None = None,
    ):
        if mask is None and scribbles is None:
            raise BadInputError(f"{name}: wanted a mask or scribbles to take seeds from, got none")
        builder = _builder(name, data_dir)
        features: Any = builder.info.features or {}
        for feature in (image, mask, scribbles, title):
            if feature is not None and feature not in features:
                raise BadInputError(
                    f"{name}: wanted a feature among {', '.join(features)}, got {feature!r}"
                )
        decoders = {
            key: tfds.decode.SkipDecoding()
            for key, feature in features.items()
            if isinstance(feature, tfds.features.Image)
        }
        self.classes = classes
        self._label = f"{name}[{split}]"
        self._image, self._mask, self._scribbles, self._title = image, mask, scribbles, title
        self._relabel = np.arange(256, dtype=np.uint8)
        for value, label in relabel:
            self._relabel[value] = label
        if not builder.info.splits:
            raise BadInputError(
                f"{self._label}: wanted a data set that is prepared in {builder.data_dir}, got "
                f"none there; energynets.data.datasets.prepare({name!r}) writes it"
            )
        try:
            self._records = builder.as_data_source(split=split, decoders=decoders)
        except NotImplementedError:
            raise BadInputError(
                f"{self._label}: wanted files of a format that is read by index, got "
                f"{builder.info.file_format} in {builder.data_dir}; with these gone, or with "
                f"another data_dir, energynets.data.datasets.prepare({name!r}) writes them"
            ) from None
        except ImportError as error:
            raise BadInputError(
                f"{self._label}: wanted the package array_record, got {_one_line(error)}; "
                "pip install energynets[experiments]"
            ) from None
        except (LookupError, ValueError) as error:
            raise BadInputError(
                f"{self._label}: wanted a split among {', '.join(builder.info.splits)}, or parts "
                f"and sums of them, got {_one_line(error)}"
            ) from None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Picture:
        record = self._record(index)
        name = self._name(index, record)
        image = images.read_image(name, encoded=record[self._image])
        if self._scribbles is not None:
            seeds = self._labels(name, record[self._scribbles])
        else:
            truth = self._labels(name, record[self._mask])
            seeds = masks.from_mask(truth, np.random.default_rng((_SALT, index)))
        if seeds.shape != image.shape[:2]:
            raise BadInputError(
                f"{self._label} {name}: wanted seeds of the size of their image, "
                f"{image.shape[1]}×{image.shape[0]}, got {seeds.shape[1]}×{seeds.shape[0]}"
            )
        return Picture(name, image, seeds)

    def name(self, index: int) -> str:
        return self._name(index, self._record(index))

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        if self._mask is None:
            return None
        record = self._record(index)
        return self._labels(self._name(index, record), record[self._mask])

    def _record(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"index: wanted 0 to {len(self) - 1}, got {index}")
        return self._records[index]

    def _name(self, index: int, record: dict) -> str:
        if self._title is None:
            return f"{self._label}-{index:06d}"
        return record[self._title].decode()

    def _labels(self, name: str, encoded: bytes) -> UInt8[np.ndarray, "h w"]:
        labels = self._relabel[images.read_labels(name, encoded=encoded)]
        wrong = labels[(labels >= self.classes) & (labels != NO_SEED)]
        if wrong.size:
            raise BadInputError(
                f"{self._label} {name}: wanted labels from 0 to {self.classes - 1}, or 255, "
                f"got {int(wrong[0])}"
            )
        return labels


def _builder(name: str, data_dir: str | Path | None) -> Any:  # TFDS's own types are incomplete
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError):
        raise BadInputError(
            f"{name}: wanted a data set that TensorFlow Datasets knows, got no such name"
        ) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]

"""PASCAL VOC 2012 segmentation for TensorFlow Datasets, which has VOC's boxes but not its masks."""

import io
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath
from PIL import Image
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import checksums

from energynets.data import archives, images

ARCHIVE = "VOCtrainval_11-May-2012.tar"
URL = f"http://host.robots.ox.ac.uk/pascal/VOC/voc2012/{ARCHIVE}"
_ROOT = "VOCdevkit/VOC2012"  # in the archive
CLASSES = 21  # background and 20 kinds of objects; 255 is void

# Size and SHA-256 of the archive, as TensorFlow Datasets records them for its own "voc".
_ARCHIVE_INFO = checksums.UrlInfo(
    size=utils.Size(1_999_639_040),
    checksum="e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    filename=ARCHIVE,
)


class VocSegmentation(tfds.core.GeneratorBasedBuilder):
    """The 1,464 + 1,449 pictures of VOC 2012 with a mask of classes, splits `train` and `val`.

    Features: image (JPEG, H×W×3), mask (H×W×1, 0 to 20, 255 void), name (of the file). Is
    prepared and read without TensorFlow, through `datasets.prepare` and `datasets.Tfds`. Looks
    for an unpacked `VOCdevkit/VOC2012`, then for the archive, in `manual_dir`; downloads the
    archive (2 GB) if there is neither.

    Raises:
        BadInputError: while it is prepared, naming the file that is missing or unreadable.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Optional: put VOCdevkit/VOC2012 or {ARCHIVE} here."

    # Stated, since finding them out needs a package that nothing else here does.
    code_path = epath.Path(__file__)
    url_infos = {URL: _ARCHIVE_INFO}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="PASCAL VOC 2012, the pictures that have masks of classes.",
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                    "name": tfds.features.Text(),
                }
            ),
            disable_shuffling=True,  # keep the order of the lists
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        origin = archives.unpacked(dl_manager, _ROOT) or Path(dl_manager.download(URL))
        return {split: self._generate_examples(origin, split) for split in ("train", "val")}

    def _generate_examples(self, origin: Path, split: str) -> Iterator[tuple[int, dict]]:
        with archives.opened(origin, root=_ROOT) as read:
            names = read(f"ImageSets/Segmentation/{split}.txt").decode().split()
            for index, name in enumerate(names):
                # Encoded bytes, since TFDS wants TensorFlow to encode an array. The masks are
                # palette images; as grey ones, every decoder reads labels and none colours.
                mask = f"SegmentationClass/{name}.png"
                labels = images.read_labels(origin / mask, encoded=read(mask))
                grey = io.BytesIO()
                Image.fromarray(labels).save(grey, "png")
                grey.seek(0)
                image = io.BytesIO(read(f"JPEGImages/{name}.jpg"))
                yield index, {"image": image, "mask": grey, "name": name}

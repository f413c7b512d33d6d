"""The Oxford-IIIT pets for TensorFlow Datasets, prepared without TensorFlow.

TFDS has them as "oxford_iiit_pet", which is read without TensorFlow but prepared with it.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath
from PIL import Image
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import checksums

from energynets.data import archives, images

URL = "https://thor.robots.ox.ac.uk/~vgg/data/pets"
_LISTS = {"train": "trainval", "test": "test"}

# Sizes and SHA-256 of the archives, as TensorFlow Datasets records them for "oxford_iiit_pet".
_INFOS = {
    "annotations": checksums.UrlInfo(
        size=utils.Size(19_173_078),
        checksum="52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
        filename="annotations.tar.gz",
    ),
    "images": checksums.UrlInfo(
        size=utils.Size(791_918_971),
        checksum="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
        filename="images.tar.gz",
    ),
}


class PetSegmentation(tfds.core.GeneratorBasedBuilder):
    """The 3,680 + 3,669 pictures of cats and dogs with trimaps, splits `train` and `test`.

    Features, named as in TFDS's own: image (H×W×3), segmentation_mask (H×W×1; 1 the pet, 2 the
    rest, 3 the border), file_name. Pictures whose file is not the JPEG that it says it is are kept
    as they are: `data.images` reads them. Looks for the unpacked folders `annotations/` and
    `images/` in `manual_dir`; downloads the archives (0.8 GB) if they are not there.

    Raises:
        BadInputError: while it is prepared, naming the file that is missing or unreadable.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Optional: put the folders annotations/ and images/ here."

    # Stated, since finding them out needs a package that nothing else here does.
    code_path = epath.Path(__file__)
    url_infos = {f"{URL}/{i.filename}": i for i in _INFOS.values()}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="The Oxford-IIIT pets with their trimaps.",
            homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "segmentation_mask": tfds.features.Image(
                        shape=(None, None, 1), encoding_format="png"
                    ),
                    "file_name": tfds.features.Text(),
                }
            ),
            disable_shuffling=True,  # keep the order of the lists
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        origins = {
            part: archives.unpacked(dl_manager, part)
            or Path(dl_manager.download(f"{URL}/{_INFOS[part].filename}"))
            for part in _INFOS
        }
        return {split: self._generate_examples(origins, split) for split in _LISTS}

    def _generate_examples(
        self, origins: dict[str, Path], split: str
    ) -> Iterator[tuple[int, dict]]:
        with (
            archives.opened(origins["annotations"], root="annotations") as annotation,
            archives.opened(origins["images"], root="images") as photograph,
        ):
            lines = annotation(f"{_LISTS[split]}.txt").decode().splitlines()
            for index, name in enumerate(line.split()[0] for line in lines if line.strip()):
                trimap = f"trimaps/{name}.png"
                labels = images.read_labels(trimap, encoded=annotation(trimap))
                grey = io.BytesIO()
                Image.fromarray(labels).save(grey, "png")
                grey.seek(0)
                image = io.BytesIO(photograph(f"{name}.jpg"))
                yield index, {"image": image, "segmentation_mask": grey, "file_name": name}

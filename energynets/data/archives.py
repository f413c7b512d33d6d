"""Files of a data set by name, from an unpacked folder or out of the archive as it lies.

TensorFlow Datasets wants TensorFlow to unpack an archive; this does without either.
"""

import contextlib
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from energynets.errors import BadInputError


@contextlib.contextmanager
def opened(origin: Path, *, root: str = "") -> Iterator[Callable[[str], bytes]]:
    """What reads a file by its name below `root` of a tar archive, or of a folder that is `root`.

    Raises:
        BadInputError: from the reader, naming a file that is not there; if the archive is damaged.
    """
    with contextlib.ExitStack() as stack:
        try:
            archive = None if origin.is_dir() else stack.enter_context(tarfile.open(origin))
        except (OSError, tarfile.TarError) as error:
            raise BadInputError(f"{origin}: wanted a tar archive, got: {error}") from None

        def read(name: str) -> bytes:
            try:
                if archive is None:
                    return (origin / name).read_bytes()
                member = archive.extractfile(f"{root}/{name}" if root else name)
                assert member is not None
                return member.read()
            except (FileNotFoundError, KeyError):
                wanted = "a file of the data set"
                raise BadInputError(f"{origin / name}: wanted {wanted}, got no such file") from None

        yield read


def unpacked(dl_manager: tfds.download.DownloadManager, root: str) -> Path | None:
    """The folder `root` in TFDS's `manual_dir`, if somebody put it there."""
    try:
        folder = Path(dl_manager.manual_dir) / root
    except AssertionError:  # no such folder, or an empty one
        return None
    return folder if folder.is_dir() else None

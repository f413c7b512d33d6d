import io
import tarfile
from types import SimpleNamespace

import pytest

from energynets.data import archives
from energynets.errors import BadInputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "a.jpg").write_bytes(b"picture")
    return tmp_path / "set"


@pytest.fixture(params=["", "w", "w:gz"])
def origin(request, folder, tmp_path):
    """The folder itself, a tar archive of it, or a compressed one."""
    if not request.param:
        return folder
    path = tmp_path / "set.tar"
    with tarfile.open(path, request.param) as archive:
        archive.add(folder, "top/set")
    return path


def test_a_file_is_read_by_its_name_from_a_folder_and_from_an_archive(origin):
    with archives.opened(origin, root="top/set") as read:
        assert read("images/a.jpg") == b"picture"
        assert read("images/a.jpg") == b"picture"  # again, though an archive has a place


def test_a_file_that_is_not_there_is_named(origin):
    told = f"^{origin / 'images/b.jpg'}: wanted a file of the data set, got no such file$"
    with (
        archives.opened(origin, root="top/set") as read,
        pytest.raises(BadInputError, match=told),
    ):
        read("images/b.jpg")


def test_without_a_root_names_are_those_of_the_archive(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("x.txt")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"hi"))
    with archives.opened(tmp_path / "a.tar") as read:
        assert read("x.txt") == b"hi"


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100, None])
def test_what_is_no_archive_is_named(tmp_path, content):
    path = tmp_path / "set.tar"
    if content is not None:
        path.write_bytes(content)
    with (
        pytest.raises(BadInputError, match=rf"^{path}: wanted a tar archive, got: "),
        archives.opened(path),
    ):
        pass


def test_the_unpacked_folder_is_found_where_somebody_put_it(folder):
    manager = SimpleNamespace(manual_dir=str(folder.parent))
    assert archives.unpacked(manager, "set") == folder
    assert archives.unpacked(manager, "other") is None


def test_without_a_manual_folder_there_is_no_unpacked_one():
    class Manager:
        @property
        def manual_dir(self):
            raise AssertionError("Manual directory does not exist")

    assert archives.unpacked(Manager(), "set") is None

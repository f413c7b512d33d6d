import errno
import json
import os
import re
import shutil

import pytest
from ml_collections import ConfigDict

from energynets.errors import BadInputError
from energynets.training import claim as module
from energynets.training.claim import claim


def config(**changed):
    return ConfigDict({"data": {"size": 16, "sizes": (1, 2)}, "rate": 0.1, **changed})


def test_a_new_folder_is_given_the_config(tmp_path):
    claim(tmp_path / "a" / "run", config())
    found = json.loads((tmp_path / "a" / "run" / "config.json").read_text())
    assert found == {"data": {"size": 16, "sizes": [1, 2]}, "rate": 0.1}


def test_the_same_config_may_come_again(tmp_path):
    claim(tmp_path, config())
    claim(tmp_path, config())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rate": 0.2}, r"config\.rate was 0\.1, now 0\.2$"),
        ({"data": {"size": 32, "sizes": (1, 2)}}, r"config\.data\.size was 16, now 32$"),
        ({"data": {"size": 16, "sizes": (1, 3)}}, r"config\.data\.sizes was \[1, 2\], now \[1, 3"),
        ({"extra": True}, r"config\.extra was None, now True$"),
    ],
)
def test_another_config_is_refused_by_its_keys(tmp_path, changed, told):
    claim(tmp_path, config())
    with pytest.raises(BadInputError, match=told):
        claim(tmp_path, config(**changed))
    claim(tmp_path, config())


def test_checkpoints_without_a_config_are_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(BadInputError, match=r"config\.json: wanted the config .* got no file"):
        claim(tmp_path, config())
    shutil.rmtree(tmp_path / "checkpoints")
    claim(tmp_path, config())


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(BadInputError, match=r"run: wanted a run folder, got: File exists$"):
        claim(tmp_path / "run", config())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_refused_by_name(tmp_path, monkeypatch, number):
    def denied(path, text):
        raise OSError(number, os.strerror(number), str(path.with_name(".config.json.x1")))

    monkeypatch.setattr(module, "write_atomically", denied)
    told = f"{tmp_path / 'config.json'}: wanted a run folder to read and write in, got: "
    with pytest.raises(BadInputError, match=f"^{re.escape(told + os.strerror(number))}$"):
        claim(tmp_path, config())


@pytest.mark.parametrize("damaged", [b"", b'{"rate": 0.1', b"3", b"\xff\xfe\x00", b"[]"])
def test_a_damaged_config_is_refused_by_name(tmp_path, damaged):
    (tmp_path / "config.json").write_bytes(damaged)
    told = rf"^{re.escape(str(tmp_path / 'config.json'))}: wanted the config of this run, got"
    with pytest.raises(BadInputError, match=told) as error:
        claim(tmp_path, config())
    assert "\n" not in str(error.value)
    assert (tmp_path / "config.json").read_bytes() == damaged


def test_a_config_that_is_a_folder_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(BadInputError, match=r"config\.json: wanted a run folder to read and write"):
        claim(tmp_path, config())


def test_a_path_that_checkpoints_cannot_be_read_back_from_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"--workdir: wanted a path without \[ and \]"):
        claim(tmp_path / "run[1]", ConfigDict())
    assert not any(tmp_path.iterdir())

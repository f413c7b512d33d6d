import sys

import pytest

from energynets.training.journal import read_metrics
from launch import local
from tests.training.processes import ROOT, run

TINY = ("tests.training.tiny", f"--config={ROOT / 'tests/training/tiny.py'}")


def refused(*arguments):
    out, err = run("-m", "launch.local", 2, *arguments, status=2)
    assert out == "" and "Traceback" not in err
    assert len(err.splitlines()) == 1 and err.startswith("error: "), err
    return err


def test_a_run_folder_in_two_words_is_where_the_logs_go(tmp_path):
    folder = tmp_path / "run"
    steps = ("--config.train.steps=2", "--config.train.epoch=2")
    out, _ = run("-m", "launch.local", 2, *TINY, *steps, "--workdir", folder)
    assert "step 2 of 2" in out
    assert "step 2 of 2" in (folder / "process_1.log").read_text()
    assert read_metrics(folder)[-1]["step"] == 2


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["--workdir=a"], "a"),
        (["-workdir=a"], "a"),
        (["--config=c.py", "--workdir", "a", "--config.b=1"], "a"),
        (["--workdir"], None),
        (["--workdir=", "--config=c.py"], None),
        (["--config=c.py"], None),
    ],
)
def test_the_run_folder_is_found_among_the_arguments(arguments, folder):
    found = local._workdir(arguments)
    assert (found and str(found)) == folder


def test_a_bad_config_is_refused_once_and_makes_no_folder(tmp_path):
    folder = tmp_path / "run"
    assert "config.train.stepz" in refused(*TINY, f"--workdir={folder}", "--config.train.stepz=3")
    assert not folder.exists()


def test_an_unknown_experiment_is_refused(tmp_path):
    told = refused("experiments.nosuch", f"--workdir={tmp_path / 'run'}")
    assert "got 'experiments.nosuch'" in told and list(tmp_path.iterdir()) == []


def test_a_run_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    assert f"{tmp_path / 'run'}: wanted a run folder" in refused(
        *TINY, "--workdir", tmp_path / "run"
    )
    assert (tmp_path / "run").read_text() == "mine"


def test_what_a_later_process_says_as_it_fails_is_not_lost(tmp_path, monkeypatch, capfd):
    # In place of Python: the first process waits, the second fails.
    stand_in = tmp_path / "stand_in"
    stand_in.write_text(
        '#!/bin/sh\n[ "$ENERGYNETS_PROCESS" = 0 ] && exec sleep 20\necho no; exit 3\n'
    )
    stand_in.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    monkeypatch.setattr(local, "_GRACE", 0.3)
    assert local.run(2, ["some.experiment"]) == 3
    assert capfd.readouterr().err == "no\n"
    folder = tmp_path / "run"
    folder.mkdir()
    assert local.run(2, ["some.experiment", f"--workdir={folder}"]) == 3
    assert (folder / "process_1.log").read_text() == "no\n"


def test_the_log_of_a_process_is_in_the_run_folder_while_it_runs(tmp_path, monkeypatch):
    # In place of Python: the first process makes the folder and ends once the log of the second,
    # which printed before there was a folder and waits for the first, can be read there.
    folder = tmp_path / "run"
    stand_in = tmp_path / "stand_in"
    stand_in.write_text(
        f"""#!/bin/sh
log={folder}/process_1.log
if [ "$ENERGYNETS_PROCESS" = 1 ]; then
    echo early
    while ! [ -d {folder} ]; do sleep 0.05; done
    echo late
    while ! [ -e {tmp_path}/seen ]; do sleep 0.05; done
    echo last
    exit 0
fi
sleep 0.3; mkdir {folder}
for i in $(seq 600); do
    [ "$(cat $log 2>/dev/null)" = "$(printf 'early\\nlate')" ] && touch {tmp_path}/seen && exit 0
    sleep 0.05
done
exit 4
"""
    )
    stand_in.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    assert local.run(2, ["some.experiment", f"--workdir={folder}"]) == 0
    assert (folder / "process_1.log").read_text() == "early\nlate\nlast\n"

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest
from absl import flags
from ml_collections import ConfigDict

from energynets.errors import BadInputError
from energynets.training import loop, main, sharding
from experiments import dehazing, matting, seeded_seg, smoothing, sparse_seg, weak_seg
from tests.training import tiny
from tests.training.processes import ROOT, run

SMOKE = f"--config={ROOT / 'experiments/seeded_seg.py'}:smoke"
TINY = ("-m", "tests.training.tiny", f"--config={ROOT / 'tests/training/tiny.py'}")


@pytest.fixture
def parse(monkeypatch):
    """`_parse` as a new process would call it."""

    def parsed(*arguments):
        flags.FLAGS.unparse_flags()
        for name in [n for n in flags.FLAGS if n.startswith("config.")]:
            delattr(flags.FLAGS, name)
        for name in ("config", "workdir"):
            flags.FLAGS[name].unparse()
        argv = ["experiment", *map(str, arguments)]
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        monkeypatch.setattr("sys.argv", argv)  # where ml_collections looks for overrides
        return main._parse(argv)

    yield parsed
    flags.FLAGS.unparse_flags()


def refusal(err):
    """The one line that stands on standard error."""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ") and "Traceback" not in err
    return lines[0].removeprefix("error: ")


def test_config_and_workdir_come_from_the_command_line(parse, tmp_path):
    config, workdir = parse(
        SMOKE,
        f"--workdir={tmp_path}",
        "--config.train.steps=7",
        "--config.train.rate=1",
        "--config.network.widths=(8,16)",
        "--config.data.skip_broken",
        "--config.data.root=PICTURES",
    )
    assert workdir == tmp_path
    assert config.train.steps == 7 and config.train.rate == 1.0
    assert isinstance(config.train.rate, float)
    assert config.network.widths == (8, 16)
    assert config.data.skip_broken is True and config.data.root == "PICTURES"
    assert config.data.size == 16  # of the variant
    with pytest.raises(AttributeError):
        config.train.stepps = 3


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        (
            "--config.train.stepps=3",
            r"^config\.train\.stepps: wanted keys that the config has, got 'stepps' Did you mean "
            '"steps" instead of "stepps"',
        ),
        ("--config.trian.steps=3", r"^config\.trian\.steps: wanted keys .*\"train\" instead"),
        ("--noconfig.data.skip_brokn", r"^config\.data\.skip_brokn: wanted keys"),
        ("--config.nothing=3", r"^config\.nothing: wanted keys that the config has, got 'nothing'"),
        ("--config.train.steps.more=3", r"steps"),
        ("--config.train.steps=abc", r"--config\.train\.steps=abc: .*'abc'"),
        ("--config.train.steps=1.5", r"--config\.train\.steps=1\.5: .*'1\.5'"),
        ("--config.train.rate=fast", r"--config\.train\.rate=fast: .*'fast'"),
        ("--config.data.skip_broken=perhaps", r"--config\.data\.skip_broken=perhaps: .*boolean"),
        ("--config.network.widths=(8,'a'", r"widths"),
        ("--config.train=3", r"train"),
        ("--config.=3", r"config"),
        ("--config..x=1", r"config"),
        ("--confg.train.steps=3", r"confg"),
        ("--workdirs=somewhere", r"workdirs"),
        ("somewhere", r"wanted flags such as --config=FILE, got 'somewhere'"),
    ],
)
def test_a_bad_argument_is_refused_in_one_line(parse, argument, told):
    with pytest.raises(BadInputError, match=told) as error:
        parse(SMOKE, "--workdir=run", argument)
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_a_missing_workdir_is_refused(parse):
    with pytest.raises(BadInputError, match=r"--workdir: wanted a folder for the run, got none"):
        parse(SMOKE)


def test_a_missing_config_is_refused(parse):
    with pytest.raises(BadInputError, match=r"--config: wanted a config file, got none"):
        parse("--workdir=run")
    with pytest.raises(BadInputError, match=r"--config: wanted a config file, got .*nowhere\.py"):
        parse("--config=nowhere.py", "--workdir=run")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, r"--config: wanted a config file, got .*Is a directory"),
        ("", r"--config: .* has no attribute 'get_config'"),
        ("def get_config(:", r"--config: wanted a config file, got invalid syntax in .*py, line 1"),
    ],
)
def test_what_is_no_config_is_refused(parse, tmp_path, text, told):
    path = tmp_path / "config.py"
    path.mkdir() if text is None else path.write_text(text)
    for override in ([], ["--config.rate=1"]):
        with pytest.raises(BadInputError, match=told) as error:
            parse(f"--config={path}", "--workdir=run", *override)
        assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_an_unknown_variant_is_refused_in_the_tasks_own_words(parse):
    told = r"^variant: wanted full, quickstart, smoke, paper or preprint, got 'smokee'$"
    for override in ([], ["--config.train.steps=3"]):
        with pytest.raises(BadInputError, match=told):
            parse(f"{SMOKE}e", "--workdir=run", *override)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{'full': 1}[variant]", r"KeyError: 'smok'$"),
        ("int(variant)", r"ValueError: invalid literal for int\(\) .* 'smok'$"),
        ("variant + 1", r"TypeError: can only concatenate .*$"),
        ("variant.steps", r"AttributeError: 'str' object has no attribute 'steps'$"),
        ("open('nowhere.txt')", r"FileNotFoundError: .* 'nowhere\.txt'$"),
        ("import_me", r"NameError: name 'import_me' is not defined$"),
        ("__import__('no_such_module')", r"ModuleNotFoundError: No module named 'no_such_module'$"),
        ("1 / 0", r"ZeroDivisionError: division by zero$"),
    ],
)
def test_a_failure_inside_the_config_file_is_told_as_one(parse, tmp_path, line, told):
    path = tmp_path / "mine.py"
    path.write_text(f"def get_config(variant):\n    {line}\n")
    start = r"^--config: wanted a config file, and a variant that it has; .*mine\.py, line 2, "
    with pytest.raises(BadInputError, match=start + "failed with " + told) as error:
        parse(f"--config={path}:smok", "--workdir=run")
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"data": {"crpo": 0.5}}, r"^config\.data\.crpo: wanted keys that the config has"),
        ({"trian": {"steps": 3}}, r"^config\.trian\.steps: wanted keys that the config has"),
        ({"train": {"steps": "100"}}, r"^config\.train\.steps: wanted int, got '100'"),
        ({"train": {"batch": 2.0}}, r"^config\.train\.batch: wanted int, got 2\.0"),
    ],
)
def test_a_config_file_of_ones_own_has_the_keys_of_the_task(changed, told):
    config = seeded_seg.get_config()
    config.data.crop = 0  # for 0.0
    main._refuse_other_keys(config, seeded_seg)
    with pytest.raises(BadInputError, match=told):
        main._refuse_other_keys(ConfigDict(merged(config.to_dict(), changed)), seeded_seg)
    with pytest.raises(BadInputError, match=r"^config\.loss\.beta: wanted a value, got none"):
        del config.loss["beta"]
        main._refuse_other_keys(config, seeded_seg)


def merged(tree, changed):
    return {**tree, **{k: {**tree.get(k, {}), **v} for k, v in changed.items()}}


def test_all_variants_of_a_task_have_the_same_keys():
    for task, variants in (
        (seeded_seg, ("full", "quickstart", "smoke", "paper", "preprint")),
        (matting, ("full", "smoke")),
        (dehazing, ("full", "smoke")),
        (smoothing, ("full", "smoke")),
        (weak_seg, (*weak_seg.LOSSES, "smoke")),
        (sparse_seg, (*sparse_seg.LOSSES, "smoke")),
    ):
        for variant in variants:
            main._refuse_other_keys(task.get_config(variant), task)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config.train.stepps=3"], '"steps"'),
        (["--config.train.steps=1.5"], "1.5"),
        (["--config.data.source=folder", "--config.data.root=nowhere"], "nowhere/images: wanted"),
        (["--config.train.schedule=linear"], "config.train.schedule: wanted"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_two(tmp_path, arguments, told):
    workdir = tmp_path / "run"
    out, err = run(
        "-m", "experiments.seeded_seg", SMOKE, f"--workdir={workdir}", *arguments, status=2
    )
    assert told in refusal(err)
    assert out == "" and not workdir.exists()


def test_a_loss_that_is_not_finite_ends_with_one_line_and_status_two(tmp_path):
    _, err = run(*TINY, f"--workdir={tmp_path}", "--config.poison=(5,2)", status=2)
    assert refusal(err) == (
        "step 5: wanted a finite loss, got nan for point-5-2; the checkpoint of step 5 in "
        f"{tmp_path / 'checkpoints'} is good"
    )


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "energynets-test", folder]
    if os.name != "posix" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs rights that are not given here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_with_one_line_and_the_run_goes_on_once_there_is_room(tmp_path):
    settings = ("--config.train.keep_every=1", "--config.train.epoch=1")
    disk = tmp_path / "disk"
    with small_disk(disk, "500k"):
        command = (*TINY, f"--workdir={disk / 'run'}", *settings)
        out, err = run(*command, status=2)
        assert "No space left on device" in refusal(err)
        kept = sorted(int(p.name) for p in (disk / "run" / "checkpoints").iterdir())
        assert kept == list(range(len(kept))) and kept
        grow = ["mount", "-o", "remount,size=20m", disk]
        subprocess.run(grow, check=True)
        out, _ = run(*command)
        assert f"goes on from step {kept[-1]} " in out
        scores = json.loads((disk / "run" / "report.json").read_text())["scores"]
    config = tiny.get_config()
    config.train.update({"keep_every": 1, "epoch": 1})
    main.train_and_report(tiny.make(config), config, tmp_path / "whole")
    whole = json.loads((tmp_path / "whole" / "report.json").read_text())["scores"]
    for name, values in whole.items():
        assert scores[name] == pytest.approx(values, rel=1e-5)


def test_no_room_for_anything_but_a_checkpoint_is_told_too(monkeypatch, tmp_path, capsys):
    def full(experiment, config, workdir):
        raise OSError(28, "No space left on device", str(workdir / "report.json"))

    def denied(experiment, config, workdir):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(main, "_parse", lambda argv: (None, Path("run")))
    monkeypatch.setattr(main, "train_and_report", full)
    with pytest.raises(SystemExit) as ended:
        main.run(lambda config: None)
    assert ended.value.code == 2
    assert refusal(capsys.readouterr().err) == (
        "run/report.json: wanted room on the disk, got: No space left on device; "
        "the same command goes on from the last checkpoint"
    )
    monkeypatch.setattr(main, "train_and_report", denied)
    with pytest.raises(PermissionError):  # of nothing in the run folder: a defect
        main.run(lambda config: None)


@pytest.mark.parametrize("name", ["run/checkpoints/4", str(Path("run/report.json").absolute())])
@pytest.mark.parametrize("number", [1, 13])
def test_a_run_folder_that_may_not_be_written_is_told_too(monkeypatch, capsys, name, number):
    def denied(experiment, config, workdir):
        raise PermissionError(number, "Not for you", name)

    monkeypatch.setattr(main, "_parse", lambda argv: (None, Path("run")))
    monkeypatch.setattr(main, "train_and_report", denied)
    with pytest.raises(SystemExit) as ended:
        main.run(lambda config: None)
    assert ended.value.code == 2
    told = f"{name}: wanted a run folder to read and write in, got: Not for you"
    assert refusal(capsys.readouterr().err).startswith(told)


def test_a_task_without_a_report_of_its_own_is_given_a_plain_one(tmp_path):
    config = tiny.get_config()
    experiment = tiny.make(config)._replace(report=None)
    main.train_and_report(experiment, config, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())["scores"]
    assert found.keys() == {"trained", "fresh"}
    assert found["trained"]["loss"] < found["fresh"]["loss"]
    assert (tmp_path / "figures" / "training.png").exists()
    fresh = experiment.init(jax.random.key(config.train.seed))
    sums = loop.evaluate(experiment, fresh, experiment.validation, sharding.make_mesh(), batch=5)
    assert found["fresh"]["loss"] == pytest.approx(experiment.scores(sums)["loss"], rel=1e-6)

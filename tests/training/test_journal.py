import json
from pathlib import Path

import pytest

from energynets.training.journal import (
    Journal,
    as_json,
    best,
    progress_bar,
    read_metrics,
    write_atomically,
)


def written(workdir, *records, step=-1):
    journal = Journal(workdir, step)
    for at, scalars in records:
        journal.write(at, scalars)
    journal.close()


def events(workdir):
    """(step, name, value) of all TensorBoard scalars, in the order of writing."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found = []
    for path in sorted((workdir / "tensorboard").glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:  # each record: length, its checksum, the event, its checksum
            length = int.from_bytes(content[:8], "little")
            data = content[12 : 12 + length]
            checksum = int.from_bytes(content[12 + length : 16 + length], "little")
            assert masked_crc32c(data) == checksum
            content = content[16 + length :]
            event = Event.FromString(data)
            found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    return found


def test_what_is_written_is_read_again(tmp_path):
    written(tmp_path, (1, {"loss": 0.1, "rate": 1e-3}), (2, {"loss": 1 / 3}))
    assert read_metrics(tmp_path) == [
        {"step": 1, "loss": 0.1, "rate": 1e-3},
        {"step": 2, "loss": 1 / 3},
    ]


def test_each_line_is_on_disk_before_the_next_step(tmp_path):
    journal = Journal(tmp_path, -1)
    journal.write(1, {"loss": 1.0})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}]
    journal.close()


def test_a_run_that_goes_on_forgets_later_steps(tmp_path):
    written(tmp_path, *((step, {"loss": float(step)}) for step in range(5)))
    written(tmp_path, (3, {"loss": 33.0}), step=2)
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path)] == [
        (0, 0.0),
        (1, 1.0),
        (2, 2.0),
        (3, 33.0),
    ]


def test_a_run_that_starts_again_keeps_nothing(tmp_path):
    written(tmp_path, (0, {"loss": 1.0}))
    written(tmp_path, (0, {"loss": 2.0}), step=-1)
    assert read_metrics(tmp_path) == [{"step": 0, "loss": 2.0}]


def test_a_last_line_that_was_cut_short_is_left_out(tmp_path):
    written(tmp_path, (1, {"loss": 1.0}), (2, {"loss": 2.0}))
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    assert [r["step"] for r in read_metrics(tmp_path)] == [1]
    written(tmp_path, (2, {"loss": 4.0}), step=1)
    assert [r["loss"] for r in read_metrics(tmp_path)] == [1.0, 4.0]


def test_no_file_holds_no_metrics(tmp_path):
    assert read_metrics(tmp_path) == []


def test_tensorboard_reads_the_same_scalars(tmp_path):
    written(tmp_path, (1, {"loss": 0.5}), (2, {"loss": 0.25, "validation/loss": 4.0}))
    assert events(tmp_path) == [
        (1, "loss", 0.5),
        (2, "loss", 0.25),
        (2, "validation/loss", 4.0),
    ]


def test_what_is_no_number_is_null(tmp_path):
    written(tmp_path, (1, {"loss": float("nan"), "rate": float("inf"), "kept": 1.0}))
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"step": 1, "loss": null, "rate": null, "kept": 1.0}\n'
    assert as_json({"a": [1, (float("-inf"), "nan")], "b": None}) == (
        '{"a": [1, [null, "nan"]], "b": null}'
    )


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_atomically(path, "old")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_a_new_text_replaces_the_whole_of_the_old(tmp_path):
    path = tmp_path / "config.json"
    write_atomically(path, "a long first text")
    write_atomically(path, "short")
    assert path.read_text() == "short"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_bar_counts_without_a_terminal(tmp_path, capsys):
    with progress_bar("looking", done=1) as bar:
        for number in range(3):
            bar.advance(total=4, note=f"picture {number}")
    assert "\r" not in capsys.readouterr().out


def test_each_line_is_strict_json(tmp_path):
    written(tmp_path, (1, {"mean_iou": float("nan")}))

    def refuse(name):
        raise AssertionError(name)

    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_the_best_step_is_that_of_the_lowest_validation_loss(tmp_path):
    losses = {0: 3.0, 10: 1.0, 20: None, 30: 2.0}
    lines = [json.dumps({"step": s, "validation/loss": v}) for s, v in losses.items()]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, json.dumps({"step": 40})]))
    assert best(tmp_path) == (10, 30)


def test_without_training_there_is_no_best_step(tmp_path):
    assert best(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 0, "validation/loss": 1.0}))
    assert best(tmp_path) is None


def test_of_equal_validations_the_last_is_the_best_as_checkpoints_are_kept(tmp_path):
    losses = ((0, 2.0), (2, 1.0), (4, 1.0), (6, 3.0))
    written(tmp_path, *((step, {"validation/loss": loss}) for step, loss in losses))
    assert best(tmp_path) == (4, 6)

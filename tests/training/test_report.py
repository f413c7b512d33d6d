import json

import jax.numpy as jnp
import numpy as np
import pytest

from energynets.training import figures
from energynets.training import report as reports
from energynets.training.journal import Journal
from energynets.training.report import Report, Table


@pytest.fixture
def report():
    table = Table(
        "Scores",
        ["method", "mIoU", "E"],
        [["network", 0.123456, 12345.6], ["fresh", None, float("nan")]],
    )
    return Report(
        "A run",
        {"network": {"mIoU": 0.123456, "worst": float("nan")}, "pictures": 3},
        {"seconds": {"network": 0.5, "exact": float("inf")}},
        [table],
        ["Three pictures."],
    )


def strict(path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_json_holds_scores_apart_from_timing(report, tmp_path):
    reports.write(report, tmp_path)
    found = strict(tmp_path / "report.json")
    assert found["title"] == "A run" and found["notes"] == ["Three pictures."]
    assert found["scores"]["pictures"] == 3
    assert found["scores"]["network"]["mIoU"] == 0.123456
    assert found["timing"]["seconds"]["network"] == 0.5
    assert found["timing"]["environment"].keys() >= {"device", "processor", "python", "jax"}


def test_what_is_no_number_is_null_in_the_json(report, tmp_path):
    reports.write(report, tmp_path)
    found = strict(tmp_path / "report.json")
    assert found["scores"]["network"]["worst"] is None
    assert found["timing"]["seconds"]["exact"] is None


def test_the_markdown_holds_tables_notes_machine_and_figures(report, tmp_path):
    figures.draw_grid(tmp_path / "figures" / "some_pictures.png", ["one"], [[np.zeros((4, 4))]])
    reports.write(report, tmp_path)
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert lines[0] == "# A run"
    start = lines.index("## Scores")
    assert lines[start + 2 : start + 6] == [
        "| method | mIoU | E |",
        "| --- | --- | --- |",
        "| network | 0.1235 | 1.235e+04 |",
        "| fresh |  | nan |",
    ]
    assert "Three pictures." in lines
    assert any(line.startswith("Measured on device: ") for line in lines)
    assert "![some pictures](figures/some_pictures.png)" in lines


def test_the_tables_are_printed(report, tmp_path, capsys):
    reports.write(report, tmp_path)
    shown = capsys.readouterr().out
    assert "Scores" in shown and "0.1235" in shown and "Three pictures." in shown
    assert str(tmp_path) in shown


def test_scores_that_are_not_plain_numbers_are_refused(report, tmp_path):
    with pytest.raises(TypeError):
        reports.write(report._replace(scores={"a": np.zeros(2)}), tmp_path)
    assert not (tmp_path / "report.json").exists()


def test_a_time_is_the_median_of_finished_calls():
    calls = []

    def call():
        calls.append(1)
        return jnp.zeros(3) + 1

    assert 0 < reports.seconds(call, repeats=3) < 10
    assert len(calls) == 4


def test_the_time_of_a_step_and_its_share_of_waiting_are_told_and_kept_with_the_timing(
    report, tmp_path, capsys
):
    journal = Journal(tmp_path, -1)
    for step, (seconds, waiting) in enumerate([(9.0, 0.5), (0.25, 0.015), (0.2, 0.01)]):
        journal.write(step, {"loss": 1.0, "seconds_a_step": seconds, "waiting": waiting})
    journal.write(3, {"validation/loss": 1.0})
    journal.close()
    reports.write(report, tmp_path)
    told = "A training step took 0.25 s, of which 1.5 % were spent waiting for data (medians)."
    assert told in capsys.readouterr().out and told in (tmp_path / "report.md").read_text()
    timing = strict(tmp_path / "report.json")["timing"]
    assert timing["training"] == {"seconds_a_step": 0.25, "waiting": 0.015}


def test_the_step_whose_weights_are_measured_is_told(report, tmp_path, capsys):
    journal = Journal(tmp_path, -1)
    for step, loss in enumerate((3.0, 1.0, 2.0)):
        journal.write(step, {"validation/loss": loss})
    journal.close()
    reports.write(report, tmp_path)
    told = "The weights are those of step 1 of 2, the lowest validation loss."
    assert told in capsys.readouterr().out and told in (tmp_path / "report.md").read_text()


def test_weights_of_step_0_are_told_to_be_untrained(report, tmp_path, capsys):
    journal = Journal(tmp_path, -1)
    for step, loss in enumerate((1.0, 3.0)):
        journal.write(step, {"validation/loss": loss})
    journal.close()
    reports.write(report, tmp_path)
    assert "step 0 of 1, the lowest validation loss: before any tr" in capsys.readouterr().out


def test_without_training_no_time_of_a_step_is_told(report, tmp_path):
    reports.write(report, tmp_path)
    assert "waiting for data" not in (tmp_path / "report.md").read_text()
    assert "training" not in strict(tmp_path / "report.json")["timing"]

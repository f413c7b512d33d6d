import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

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
    reports.draw_grid(tmp_path / "figures" / "some_pictures.png", ["one"], [[np.zeros((4, 4))]])
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


def test_training_is_drawn_from_the_metrics(tmp_path):
    journal = Journal(tmp_path, -1)
    for step in range(3):
        journal.write(step, {"loss": 1.0 + step, "seconds_a_step": 0.1})
    journal.write(3, {"loss": float("nan"), "mean_iou": float("nan"), "signed": -1.0})
    journal.close()
    reports.draw_training(tmp_path)
    with Image.open(tmp_path / "figures" / "training.png") as picture:
        assert picture.size[0] > picture.size[1]  # three curves in a row


def test_validation_is_drawn_beside_training_with_its_line_and_the_energy_once(
    tmp_path, monkeypatch
):
    figures = []
    monkeypatch.setattr(reports, "_save", lambda figure, path: figures.append(figure))
    journal = Journal(tmp_path, -1)
    for step in range(3):
        journal.write(step, {"loss": 9.0 - step, "energy": 9.0 - step, "rate": 0.1})
        journal.write(step, {"validation/loss": 8.0 - step, "validation/mean_iou": 0.5})
    journal.close()
    reports.draw_training(tmp_path, {"validation/loss": 5.0})
    panels = {axis.get_title(): axis for axis in figures[0].axes if axis.get_title()}
    assert panels.keys() == {"energy", "rate", "validation/mean_iou"}
    energy = panels["energy"]
    assert energy.get_yscale() == "log"
    drawn = {line.get_label(): (line.get_linestyle(), [*line.get_ydata()]) for line in energy.lines}
    assert drawn == {
        "energy": ("-", [9.0, 8.0, 7.0]),
        "validation/loss": ("-", [8.0, 7.0, 6.0]),
        "validation/loss, exact": ("--", [5.0, 5.0]),
    }


def test_a_loss_that_is_not_the_energy_alone_has_a_panel_of_its_own(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(reports, "_save", lambda figure, path: figures.append(figure))
    journal = Journal(tmp_path, -1)
    journal.write(1, {"loss": 3.0, "energy": 2.0})
    journal.close()
    reports.draw_training(tmp_path)
    assert [axis.get_title() for axis in figures[0].axes] == ["energy", "loss"]


def test_nothing_is_drawn_of_no_metrics(tmp_path):
    reports.draw_training(tmp_path)
    assert not (tmp_path / "figures").exists()


def test_a_grid_has_one_column_a_title_and_takes_colour_and_grey(tmp_path):
    path = tmp_path / "grid.png"
    grey, colour = np.linspace(0, 1, 16).reshape(4, 4), np.ones((4, 4, 3)) * [1, 0, 0]
    reports.draw_grid(path, ["left", "middle", "right"], [[grey, colour, grey]] * 2)
    with Image.open(path) as picture:
        width, height = picture.size
        assert width > height
        assert (np.asarray(picture.convert("RGB")) == [255, 0, 0]).all(-1).any()


def test_a_grid_may_have_texts_for_pictures_and_labels_at_the_left(tmp_path):
    plain, labelled = tmp_path / "plain.png", tmp_path / "labelled.png"
    rows = [[np.zeros((4, 4)), "no mask"]]
    reports.draw_grid(plain, ["left", "right"], rows)
    reports.draw_grid(labelled, ["left", "right"], rows, ["a picture\nE 1.2"])
    with Image.open(plain) as first, Image.open(labelled) as second:
        assert second.size[0] > first.size[0] and second.size[1] == first.size[1]
        left = np.asarray(second.convert("L"))[:, : second.size[0] - first.size[0]]
        assert (left < 100).any()


@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_strokes_are_seen_on_any_ground(ground):
    strokes = np.zeros((32, 32), bool)
    strokes[10, 5:20] = True
    drawn = reports.outlined(np.full((32, 32, 3), ground), strokes, np.ones(3))
    assert drawn.shape == (256, 256, 3)
    assert (drawn[80:88, 40:160] == 1).all()  # the stroke, eight times as large
    assert (drawn[79, 40:160] == 0).all() and (drawn[88, 40:160] == 0).all()  # its outline
    assert (drawn[:78] == ground).all()


def test_labels_have_different_colours_and_background_is_black():
    colours = reports.label_colours(6)
    assert (colours[0] == 0).all() and (colours[6:] == 1).all()
    assert len(np.unique(colours[:7], axis=0)) == 7


def test_a_time_is_the_median_of_finished_calls():
    calls = []

    def call():
        calls.append(1)
        return jnp.zeros(3) + 1

    assert 0 < reports.seconds(call, repeats=3) < 10
    assert len(calls) == 4

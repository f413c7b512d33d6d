import numpy as np
import pytest
from PIL import Image

from energynets.training import figures
from energynets.training.journal import Journal


def test_training_is_drawn_from_the_metrics(tmp_path):
    journal = Journal(tmp_path, -1)
    for step in range(3):
        journal.write(step, {"loss": 1.0 + step, "seconds_a_step": 0.1})
    journal.write(3, {"loss": float("nan"), "mean_iou": float("nan"), "signed": -1.0})
    journal.close()
    figures.draw_training(tmp_path)
    with Image.open(tmp_path / "figures" / "training.png") as picture:
        assert picture.size[0] > picture.size[1]  # three curves in a row


def test_every_scalar_has_a_panel_with_its_line_and_the_energy_one(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    journal = Journal(tmp_path, -1)
    for step in range(3):
        journal.write(step, {"loss": 9.0 - step, "energy": 9.0 - step, "rate": 0.1})
        journal.write(step, {"validation/loss": 8.0 - step, "validation/energy": 6.0 - step})
    journal.close()
    figures.draw_training(tmp_path, {"validation/energy": 3.0})
    panels = {axis.get_title(): axis for axis in saved[0].axes if axis.get_title()}
    assert [*panels] == ["energy", "rate", "validation/energy", "validation/loss"]
    assert panels["energy"].get_yscale() == panels["validation/energy"].get_yscale() == "log"
    drawn = {
        name: [(line.get_linestyle(), [*line.get_ydata()]) for line in axis.lines]
        for name, axis in panels.items()
    }
    assert drawn["energy"] == [("-", [9.0, 8.0, 7.0])]
    assert drawn["validation/energy"] == [("-", [6.0, 5.0, 4.0]), ("--", [3.0, 3.0])]
    assert drawn["validation/loss"] == [("-", [8.0, 7.0, 6.0])]
    assert panels["validation/energy"].get_legend().get_texts()[0].get_text() == "exact"


def test_a_loss_that_is_not_the_energy_alone_has_a_panel_of_its_own(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    journal = Journal(tmp_path, -1)
    journal.write(1, {"loss": 3.0, "energy": 2.0})
    journal.close()
    figures.draw_training(tmp_path)
    assert [axis.get_title() for axis in saved[0].axes] == ["energy", "loss"]


def test_runs_are_lines_beside_one_another_and_one_that_lacks_a_scalar_has_none(
    tmp_path, monkeypatch
):
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    for name, scalars in {"descent": ("crf", "iou"), "proposals": ("iou",)}.items():
        (tmp_path / name).mkdir()
        journal = Journal(tmp_path / name, -1)
        for step in range(3):
            journal.write(step, {scalar: step + len(name) for scalar in scalars})
        journal.close()
    runs = {name: [tmp_path / name] for name in ("descent", "proposals")}
    figures.draw_runs(tmp_path / "runs.png", runs, ("crf", "iou"))
    lines = [
        {line.get_label(): [*line.get_ydata()] for line in axis.lines} for axis in saved[0].axes
    ]
    assert lines == [{"descent": [7, 8, 9]}, {"descent": [7, 8, 9], "proposals": [9, 10, 11]}]
    told = [text.get_text() for text in saved[0].legends[0].get_texts()]
    assert told == ["descent", "proposals"]


def test_runs_of_one_name_are_their_mean_and_a_band(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    for name, steps, offset in (("a", (0, 5, 10), 0.0), ("b", (0, 10), 2.0), ("c", (0,), 9.0)):
        (tmp_path / name).mkdir()
        journal = Journal(tmp_path / name, -1)
        for step in steps:
            journal.write(step, {"other" if name == "c" else "crf": step + offset})
        journal.close()
    runs = {"CRF": [tmp_path / "a", tmp_path / "b", tmp_path / "c"]}
    figures.draw_runs(tmp_path / "runs.png", runs, ("crf",))
    (axis,) = saved[0].axes
    (line,), (band,) = axis.lines, axis.collections
    assert [*line.get_xdata()] == [0, 10] and [*line.get_ydata()] == [1, 11]
    corners = {(round(x), round(y, 3)) for x, y in band.get_paths()[0].vertices}
    assert {(0, round(1 - 2**0.5, 3)), (10, round(11 + 2**0.5, 3))} <= corners


def test_values_along_a_number_are_means_with_their_deviation_and_words_are_levels(
    tmp_path, monkeypatch
):
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    lines = {"tv": {"50": [0.1], "10": [0.2, 0.4]}, "full": {"all": [0.0, 0.1]}}
    figures.draw_along(tmp_path / "along.png", lines, across="pixels", upwards="error")
    (axis,) = saved[0].axes
    (container,) = axis.containers
    line, _, (bars,) = container
    assert [*line.get_xdata()] == [10, 50]
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.3, 0.1])
    spans = [segment[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(spans, [[0.3 - 0.02**0.5, 0.3 + 0.02**0.5], [0.1, 0.1]])
    (level,) = [line for line in axis.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(level.get_ydata(), [0.05, 0.05])
    told = {text.get_text() for text in saved[0].legends[0].get_texts()}
    assert (axis.get_xlabel(), axis.get_ylabel(), told) == ("pixels", "error", {"tv", "full"})


def test_long_names_stand_one_below_the_other_and_within_the_figure(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    for length in (5, 40, 80):
        lines = {letter * length: {"0": [0.1], "1": [0.2]} for letter in "abc"}
        figures.draw_along(tmp_path / "along.png", lines, across="length", upwards="mIoU")
    for figure in saved:
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    heights = [figure.legends[0].get_window_extent().height for figure in saved]
    assert heights[0] == heights[1] < heights[2]


def test_many_runs_of_long_names_keep_their_room_and_differ(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    where = ", ".join(f"network.something {n}" for n in range(12))
    names = [f"run {n}, {where}" for n in range(25)]
    runs = {}
    for name in names:
        runs[name] = [tmp_path / name[:6].strip(",")]
        runs[name][0].mkdir()
        journal = Journal(runs[name][0], -1)
        journal.write(0, {"crf": 1.0, "iou": 0.5})
        journal.close()
    figures.draw_runs(tmp_path / "runs.png", runs, ("crf", "iou"))
    lines = {name: {"0": [0.1], "masks": [0.2]} for name in names}
    figures.draw_along(tmp_path / "along.png", lines, across="length", upwards="mIoU")
    for figure in saved:
        figure.canvas.draw()
        box, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0
        assert box.y1 <= axes.y0 and axes.height > 2.5 * figure.dpi
        dashes = {(line.get_color(), str(line._dash_pattern)) for line in figure.axes[0].lines}
        assert len(dashes) >= 25
    told = [text.get_text() for text in saved[1].legends[0].get_texts()]
    assert len(set(told)) == 50 and all("network.something 11" in name for name in told)


def test_nothing_is_drawn_of_no_line(tmp_path):
    figures.draw_along(tmp_path / "along.png", {}, across="pixels", upwards="error")
    assert not (tmp_path / "along.png").exists()


def test_nothing_is_drawn_of_no_metrics(tmp_path):
    figures.draw_training(tmp_path)
    figures.draw_runs(tmp_path / "figures" / "runs.png", {"one": [tmp_path]}, ("loss",))
    assert not (tmp_path / "figures").exists()


def test_a_grid_has_one_column_a_title_and_takes_colour_and_grey(tmp_path):
    path = tmp_path / "grid.png"
    grey, colour = np.linspace(0, 1, 16).reshape(4, 4), np.ones((4, 4, 3)) * [1, 0, 0]
    figures.draw_grid(path, ["left", "middle", "right"], [[grey, colour, grey]] * 2)
    with Image.open(path) as picture:
        width, height = picture.size
        assert width > height
        assert (np.asarray(picture.convert("RGB")) == [255, 0, 0]).all(-1).any()


def test_a_grid_may_have_texts_for_pictures_and_labels_at_the_left(tmp_path):
    plain, labelled = tmp_path / "plain.png", tmp_path / "labelled.png"
    rows = [[np.zeros((4, 4)), "no mask"]]
    figures.draw_grid(plain, ["left", "right"], rows)
    figures.draw_grid(labelled, ["left", "right"], rows, ["a picture\nE 1.2"])
    with Image.open(plain) as first, Image.open(labelled) as second:
        assert second.size[0] > first.size[0] and second.size[1] == first.size[1]
        left = np.asarray(second.convert("L"))[:, : second.size[0] - first.size[0]]
        assert (left < 100).any()


@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_strokes_are_seen_on_any_ground(ground):
    strokes = np.zeros((32, 32), bool)
    strokes[10, 5:20] = True
    drawn = figures.outlined(np.full((32, 32, 3), ground), strokes, np.ones(3))
    assert drawn.shape == (256, 256, 3)
    assert (drawn[80:88, 40:160] == 1).all()  # the stroke, eight times as large
    assert (drawn[79, 40:160] == 0).all() and (drawn[88, 40:160] == 0).all()  # its outline
    assert (drawn[:78] == ground).all()


def test_labels_have_different_colours_and_background_is_black():
    colours = figures.label_colours(6)
    assert (colours[0] == 0).all() and (colours[6:] == 1).all()
    assert len(np.unique(colours[:7], axis=0)) == 7


def answered(**changed):
    """A picture with strokes of labels 0 and 1, whose plane k says the probability 0.1 k."""
    planes = np.zeros((16, 16, 3))
    planes[2, 3:9, 0] = planes[10, 3:9, 1] = 1
    answer = np.stack([np.full((16, 16), 0.1 * (k + 1)) for k in range(3)], -1)
    image = np.full((16, 16, 3), 0.5)
    made = figures.Answered("a", image, planes, np.array([0, 1, -1]), {"m": answer}, None, ["E 2"])
    return made._replace(**changed)


def drawn(monkeypatch, *pictures):
    grids = []
    monkeypatch.setattr(figures, "draw_grid", lambda *arguments: grids.append(arguments))
    figures.draw_answers("p.png", pictures, classes=2)
    return grids


def test_the_drawn_probability_is_that_of_a_label_in_front(monkeypatch):
    [(path, titles, rows, beside)] = drawn(monkeypatch, answered())
    assert path == "p.png" and len(titles) == len(rows[0]) == 4
    assert beside == ["a\nprobability: label 1\nE 2"]
    np.testing.assert_array_equal(rows[0][1], np.full((16, 16), 0.2))
    assert rows[0][2] == "no mask"
    white = (np.asarray(rows[0][0]) == 1).all(-1)
    assert white.any()  # seeds of label 0 are white, not black


def test_where_the_background_alone_is_seeded_its_probability_is_drawn(monkeypatch):
    planes = answered().planes * [1, 0, 0]
    [(_, _, rows, beside)] = drawn(monkeypatch, answered(planes=planes))
    assert "label 0" in beside[0]
    np.testing.assert_array_equal(rows[0][1], np.full((16, 16), 0.1))


def test_truth_and_label_maps_have_the_colours_of_their_labels(monkeypatch):
    colours = figures.label_colours(2)
    truth = np.ones((40, 24), np.uint8)
    truth[:20] = 255
    answer = np.zeros((16, 16, 3))
    answer[..., 1] = 1
    [(_, _, rows, _)] = drawn(monkeypatch, answered(truth=truth, answers={"m": answer}))
    assert (rows[0][2][:8] == colours[255]).all() and (rows[0][2][8:] == colours[1]).all()
    assert (rows[0][3] == colours[1]).all()


def test_no_answers_are_not_drawn(monkeypatch):
    assert drawn(monkeypatch) == []


def test_pulls_are_red_upwards_and_yellow_downwards_and_black_where_there_is_none():
    descent = np.zeros((4, 5))
    descent[0, 0], descent[3, 4], descent[1, 1] = 2.0, -2.0, 1.0
    colours = figures.pushes(descent)
    assert colours[0, 0].tolist() == [1, 0, 0] and colours[3, 4].tolist() == [1, 1, 0]
    red, green, blue = colours[1, 1]
    assert 0.3 < red <= 1 and green == blue == 0
    assert (colours[2] == 0).all() and (figures.pushes(np.zeros((3, 3))) == 0).all()


def test_weakly_labelled_pictures_are_drawn_with_answers_pulls_and_truth(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "draw_grid", lambda path, *of: drawn.update({path: of}))
    random = np.random.default_rng(0)
    known = np.zeros((6, 6, 3))
    known[1, 1, 2] = 1
    probabilities = np.dstack([np.full((6, 6), 0.5), np.full((6, 6), 0.1), np.full((6, 6), 0.4)])
    pull = random.standard_normal((6, 6, 3))
    one = figures.Weak(
        *("one", random.random((6, 6, 3)), known, {"network": probabilities}, {"pull": pull}, None)
    )
    figures.draw_weak(tmp_path / "a.png", [one], classes=3)
    titles, (row,), labels = drawn[tmp_path / "a.png"]
    assert len(titles) == len(row) == 4 and titles[1] == "network" and row[3] == "no mask"
    np.testing.assert_array_equal(row[2], figures.pushes(pull[..., 2]))  # label 2 is likelier
    assert "pull on label 2" in labels[0]
    figures.draw_weak(tmp_path / "none.png", [], classes=3)
    assert len(drawn) == 1


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_is(tmp_path):
    figures.draw_grid(tmp_path / "grid.png", ["picture"], [[np.zeros((4, 4))]], ["a$_^$b"])
    assert (tmp_path / "grid.png").is_file()

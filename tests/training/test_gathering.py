import json

import pytest

from energynets.errors import BadInputError
from energynets.training import gathering


def written(folder, name, about, **methods):
    (folder / name).mkdir()
    scores = {"run": about, **methods} if about else methods
    (folder / name / "report.json").write_text(json.dumps({"scores": scores}))


@pytest.fixture
def folder(tmp_path):
    for seed, value in enumerate((0.5, 0.7)):
        about = {"of": "weak", "loss": "A", "seed": seed}
        written(tmp_path, f"a{seed}", about, network={"mIoU": value}, other={"mIoU": 0.1})
    written(tmp_path, "full", {"of": "weak", "loss": "full", "seed": 0}, network={"mIoU": 0.9})
    written(tmp_path, "else", {"of": "sparse", "loss": "A", "seed": 0}, network={"mIoU": 0.0})
    written(tmp_path, "older", None, network={"mIoU": 0.0})
    (tmp_path / "unfinished").mkdir()
    return tmp_path


def test_runs_that_differ_by_a_seed_are_one_row_with_their_spread(folder):
    runs = gathering.reports(folder, what="weak")
    assert [run["folder"] for run in runs] == [str(folder / name) for name in ("a0", "a1", "full")]
    made = gathering.table(
        "All",
        runs,
        keys=("loss",),
        methods=("network", "other"),
        measures=("mIoU",),
        full={"loss": "full"},
    )
    assert made.columns == ["loss", "method", "runs", "mIoU", "±", "from full"]
    rows = {tuple(row[:3]): row[3:] for row in made.rows}
    assert rows["A", "network", "2"] == pytest.approx([0.6, 0.02**0.5, -0.3])
    assert rows["A", "other", "2"] == [pytest.approx(0.1), 0, None]
    assert rows["full", "network", "1"] == [0.9, None, 0]


def test_without_a_run_of_all_labels_no_distance_is_told(folder):
    runs = [run for run in gathering.reports(folder, what="weak") if run["run"]["loss"] == "A"]
    made = gathering.table("All", runs, keys=("loss",), methods=("network",), measures=("mIoU",))
    assert made.columns == ["loss", "method", "runs", "mIoU", "±"]


def test_the_run_itself_is_left_out_and_a_missing_folder_told(folder):
    assert len(gathering.reports(folder, what="weak", but=folder / "a1")) == 2
    with pytest.raises(BadInputError, match="wanted a folder of runs"):
        gathering.reports(folder / "none", what="weak")


def test_values_along_a_key_are_lines_by_setting_and_method(folder):
    runs = gathering.reports(folder, what="weak")
    lines = gathering.along(runs, "loss", names=("of",), method="network", measure="mIoU")
    assert lines == {"weak": {"A": [0.5, 0.7], "full": [0.9]}}
    lines = gathering.along(runs, "seed", names=("of", "loss"), method="other", measure="mIoU")
    assert lines == {"weak, A, other": {"0": [0.1], "1": [0.1]}}

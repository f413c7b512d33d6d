import json

import pytest
from ml_collections import ConfigDict

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


def test_the_distance_from_all_labels_is_that_of_the_same_network(tmp_path):
    for network, of_all, of_few in (("small", 0.6, 0.5), ("large", 0.8, 0.75)):
        for labels, loss, value in (
            ("masks", "plain", of_all),
            ("masks", "plain + TV", of_all + 0.1),
            ("few", "plain", of_few),
        ):
            about = {"of": "weak", "network": network, "labels": labels, "loss": loss}
            written(tmp_path, f"{network} {labels} {loss}", about, network={"mIoU": value})
    made = gathering.table(
        "All",
        gathering.reports(tmp_path, what="weak"),
        keys=("network", "labels", "loss"),
        methods=("network",),
        measures=("mIoU",),
        full={"labels": "masks", "loss": "plain"},
    )
    rows = {tuple(row[:3]): row[-1] for row in made.rows}
    assert rows["small", "few", "plain"] == pytest.approx(-0.1)
    assert rows["large", "few", "plain"] == pytest.approx(-0.05)
    assert rows["small", "masks", "plain"] == 0
    assert rows["large", "masks", "plain + TV"] == pytest.approx(0.1)


def test_runs_of_other_settings_are_no_further_seeds(tmp_path):
    for seed, size in ((0, 32), (1, 32), (2, 64)):
        config = ConfigDict({"train": {"seed": seed}, "data": {"size": size}})
        about = {"of": "weak", "loss": "A", "settings": gathering.settings(config)}
        written(tmp_path, f"{seed}", about, network={"mIoU": size / 100})
    runs = gathering.reports(tmp_path, what="weak")
    made = gathering.table("All", runs, keys=("loss",), methods=("network",), measures=("mIoU",))
    assert made.columns == ["loss", "where", "method", "runs", "mIoU", "±"]
    assert made.rows == [
        ["A", "data.size 32", "network", "2", 0.32, 0],
        ["A", "data.size 64", "network", "1", 0.64, None],
    ]


def test_methods_stand_beside_one_another_with_their_own_spread(folder):
    runs = gathering.reports(folder, what="weak")
    made = gathering.methods_beside(
        "All", runs, keys=("loss",), methods=("network", "other"), measure="mIoU"
    )
    assert made.columns == ["loss", "runs", "mIoU, network", "±", "mIoU, other", "±"]
    assert made.rows[0] == pytest.approx(["A", "2", 0.6, 0.02**0.5, 0.1, 0])
    assert made.rows[1] == ["full", "1", 0.9, None, None, None]


def test_folders_are_those_of_the_draws_of_each_setting(tmp_path):
    for seed, size in ((0, 32), (1, 32), (2, 64)):
        config = ConfigDict({"train": {"seed": seed}, "data": {"size": size}})
        about = {"of": "weak", "loss": "A", "settings": gathering.settings(config)}
        written(tmp_path, f"{seed}", about, network={"mIoU": size / 100})
    runs = gathering.reports(tmp_path, what="weak")
    assert gathering.folders(runs, ("of", "loss")) == {
        "weak, A, data.size 32": [tmp_path / "0", tmp_path / "1"],
        "weak, A, data.size 64": [tmp_path / "2"],
    }


def varied(folder, name, labels, value, **changed):
    """A run with "settings" of which some, such as data_size for data.size, are given."""
    settings = {key.replace("_", ".", 1): str(of) for key, of in changed.items()}
    about = {"of": "weak", "loss": "A", "labels": labels, "settings": settings}
    written(folder, name, about, network={"mIoU": value})


def test_the_distance_from_all_labels_is_that_of_the_same_pictures_and_network(tmp_path):
    for size, value in ((32, 0.5), (64, 0.7)):
        same = {"data_size": size, "network_width": 8, "network_crf_rounds": 0}
        varied(tmp_path, f"full {size}", "masks", value, **same, labels_masks=1, train_steps=9)
        varied(tmp_path, f"few {size}", "few", value - 0.2, **same, labels_masks=0, train_steps=5)
    varied(tmp_path, "other", "few", 0.4, data_size=32, network_width=16, labels_masks=0)
    layer = {"data_size": 32, "network_width": 8, "network_crf_rounds": 5}
    varied(tmp_path, "layer", "few", 0.45, **layer)
    made = gathering.table(
        "All",
        gathering.reports(tmp_path, what="weak"),
        keys=("labels", "loss"),
        methods=("network",),
        measures=("mIoU",),
        full={"labels": "masks"},
    )
    rows = [dict(zip(made.columns, row, strict=True)) for row in made.rows]
    found = sorted((row["labels"], row["mIoU"], row["from full"]) for row in rows)
    expected = [
        *(("few", 0.3, -0.2), ("few", 0.4, None), ("few", 0.45, -0.05), ("few", 0.5, -0.2)),
        *(("masks", 0.5, 0), ("masks", 0.7, 0)),
    ]
    assert [row[:2] for row in found] == [(of, pytest.approx(v)) for of, v, _ in expected]
    assert [row[2] for row in found] == [d if d is None else pytest.approx(d) for *_, d in expected]


def test_runs_of_other_settings_are_lines_of_their_own_unless_labels_alone_differ(tmp_path):
    for steps, labels, value in ((2000, 0, 0.5), (500, 0, 0.3), (500, 1, 0.4)):
        name = f"{steps} {labels}"
        varied(tmp_path, name, str(labels), value, train_steps=steps, labels_length=labels)
    runs = gathering.reports(tmp_path, what="weak")
    lines = gathering.along(runs, "labels", names=("loss",), method="network", measure="mIoU")
    assert lines == {
        "A, train.steps 2000": {"0": [0.5]},
        "A, train.steps 500": {"0": [0.3], "1": [0.4]},
    }


def test_a_folder_of_runs_may_come_with_the_run_that_lies_in_it(tmp_path):
    runs = tmp_path / "runs"
    gathering.refuse_missing("", runs)
    gathering.refuse_missing(str(runs), runs / "first")
    (tmp_path / "file").touch()
    for folder, workdir in ((runs, tmp_path / "run"), (tmp_path / "file", tmp_path / "file" / "a")):
        with pytest.raises(BadInputError, match=r"config\.report\.runs: wanted a folder of runs"):
            gathering.refuse_missing(str(folder), workdir)
    runs.mkdir()
    gathering.refuse_missing(str(runs), tmp_path / "run")

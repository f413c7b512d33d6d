import json
import shutil

import pytest

from energynets.errors import BadInputError
from energynets.training import main
from experiments import seeded_seg
from tests.experiments.discs import on, scores


def test_polish_is_told_against_its_steps_from_three_starts(root, tmp_path):
    config = on(root, report={"polished": 1, "steps": (0, 1, 40)})
    main.train_and_report(seeded_seg.make(config), config, tmp_path)
    by_steps = scores(tmp_path)["polish by steps"]
    assert [*by_steps] == ["network", "exact at 16×16", "cold"]
    for of in by_steps.values():
        assert of["0"]["energy"] > of["40"]["energy"]
        # The minimum is one, and 40 steps of multigrid reach it from anywhere.
        assert abs(of["40"]["energy"] / by_steps["cold"]["40"]["energy"] - 1) < 1e-3
        right = of["40"]["pixel accuracy"] - by_steps["cold"]["40"]["pixel accuracy"]
        assert abs(right) < 0.01 and of["40"]["residual"] < 1e-4
    assert by_steps["cold"]["0"]["energy"] > by_steps["exact at 16×16"]["0"]["energy"]
    assert (
        "## Polish against its steps, 1 pictures at their own size"
        in (tmp_path / "report.md").read_text()
    )


@pytest.mark.parametrize("part", [{"network": {"head": "classes"}}, {"loss": {"grayscale": True}}])
def test_polish_is_refused_for_a_network_that_the_tools_cannot_ask(root, part):
    with pytest.raises(BadInputError, match=r"config\.report\.polished: wanted 0"):
        seeded_seg.make(on(root, report={"polished": 1}, **part))


def test_a_folder_without_masks_is_reported_by_its_energies(root, tmp_path):
    shutil.rmtree(root / "masks")
    config = on(root)
    main.train_and_report(seeded_seg.make(config), config, tmp_path / "run")
    found = scores(tmp_path / "run")
    assert found["pictures"] == 2
    assert "mIoU" not in found["network"] and found["network"]["energy, beta 100"] > 0


def test_the_report_says_which_masks_were_seen(root, tmp_path):
    few = on(root, loss={"supervised": 1.0, "labelled": 0.3}, train={"steps": 2})
    main.train_and_report(seeded_seg.make(few), few, tmp_path / "few")
    text = (tmp_path / "few" / "report.md").read_text()
    assert "| network, masks of 2 of 4 training pictures |" in text and "| network |" in text
    assert "Not without labels: the network was trained with the masks of 2 of 4" in text
    assert scores(tmp_path / "few")["masks"] == 2
    none = on(root, train={"steps": 2})
    main.train_and_report(seeded_seg.make(none), none, tmp_path / "none")
    text = (tmp_path / "none" / "report.md").read_text()
    assert "labels: the network" not in text and "masks of" not in text
    assert scores(tmp_path / "none")["masks"] == 0


def test_a_report_without_pictures_on_another_split_works(root, tmp_path):
    (root / "test.txt").write_text("a\nb\ne\n")
    config = on(root, report={"split": "test", "pictures": 0}, train={"steps": 2})
    main.train_and_report(seeded_seg.make(config), config, tmp_path / "run")
    assert scores(tmp_path / "run")["pictures"] == 3
    assert [p.name for p in (tmp_path / "run" / "figures").iterdir()] == ["training.png"]


def test_the_timed_problem_has_no_planes_of_labels_without_seeds(root, tmp_path, monkeypatch):
    seen = []

    def exact_calls(problem, groups, solve):
        seen.append(problem)
        return {}

    monkeypatch.setattr(seeded_seg.comparison, "exact_calls", exact_calls)
    config = on(root, train={"steps": 0})
    main.train_and_report(seeded_seg.make(config), config, tmp_path)
    assert seen[0].seeds.shape == (16, 16, 2) and seen[0].seeds.any((0, 1)).all()
    timing = json.loads((tmp_path / "report.json").read_text())["timing"]
    assert timing["of"] == "one picture of 16×16 and 2 labels" and "network" in timing["seconds"]


def test_labels_that_were_left_out_are_told_of(root, tmp_path):
    config = on(root, data={"validation_labels": 1}, train={"steps": 0})
    main.train_and_report(seeded_seg.make(config), config, tmp_path)
    told = "2 pictures have seeds of more than 1 labels (config.data.validation_labels)"
    assert told in (tmp_path / "report.md").read_text()

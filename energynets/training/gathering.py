"""Several runs beside one another: what differs by a draw is one row, or one point of a line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from energynets.errors import BadInputError
from energynets.training.report import Table

Run = Mapping[str, Any]  # the "scores" of a run's report


def reports(folder: Path, *, what: str, but: Path | None = None) -> list[Run]:
    """The scores of every finished run in `folder` whose scores have "run" about `what`.

    `but` is left out: the run that is being reported, whose report may be there from before.
    A run says about itself, in scores["run"], what makes it a row: {"of": what, …}. Beside that
    stands its folder, as run["folder"].

    Raises:
        BadInputError: if there is no such folder.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder}: wanted a folder of runs, got no such folder")
    found = []
    for path in sorted(folder.glob("*/report.json")):
        if but is not None and path.parent.resolve() == but.resolve():
            continue
        scores = json.loads(path.read_text())["scores"]
        if scores.get("run", {}).get("of") == what:
            found.append({**scores, "folder": str(path.parent)})
    return found


def table(
    title: str,
    runs: Sequence[Run],
    *,
    keys: Sequence[str],
    methods: Sequence[str],
    measures: Sequence[str],
    full: Mapping[str, Any] | None = None,
) -> Table:
    """A row for each setting and method: mean and standard deviation over the runs that share it.

    Args:
        keys: of scores["run"], which tell a setting; they are the first columns.
        methods: names in the scores, such as "network"; those that a run lacks are passed over.
        measures: of each method.
        full: the value of some keys by which runs with all labels are known; then the first
            measure's distance from their mean, of the same method, is told as well.

    Rows keep the order in which the settings first came. With a single run there is no deviation.
    """
    rows: dict[tuple, list[Mapping[str, float]]] = {}
    for run in runs:
        for method in methods:
            if method in run:
                setting = (*(run["run"][key] for key in keys), method)
                rows.setdefault(setting, []).append(run[method])
    best: dict[str, float] = {}
    for method in methods:
        reference = [
            run[method][measures[0]]
            for run in runs
            if full and method in run and all(run["run"][k] == v for k, v in full.items())
        ]
        if reference:
            best[method] = mean(reference)
    made = []
    for setting, scores in rows.items():
        row: list[str | float | None] = [*(str(part) for part in setting), str(len(scores))]
        for measure in measures:
            values = [of[measure] for of in scores if of.get(measure) is not None]
            row += [mean(values) if values else None, stdev(values) if len(values) > 1 else None]
        if best:
            offset = None
            if setting[-1] in best:
                offset = mean(of[measures[0]] for of in scores) - best[setting[-1]]
            row.append(offset)
        made.append(row)
    columns = [*keys, "method", "runs"]
    for measure in measures:
        columns += [measure, "±"]
    return Table(title, columns + (["from full"] if best else []), made)


def along(
    runs: Sequence[Run], key: str, *, names: Sequence[str], method: str, measure: str
) -> dict[str, dict[str, list[float]]]:
    """For each setting the values of a method's measure at every value of `key`, to be drawn.

    Args:
        key, names: of scores["run"]: what changes along a line, and what tells lines apart.

    The name of a setting has its parts with commas between them, and the method unless it is the
    network. Settings keep the order in which they first came; runs without the method are passed
    over.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        if method in run:
            name = ", ".join(str(run["run"][of]) for of in names)
            name += f", {method.removeprefix('network, ')}" if method != "network" else ""
            at = found.setdefault(name, {}).setdefault(str(run["run"][key]), [])
            at.append(run[method][measure])
    return found

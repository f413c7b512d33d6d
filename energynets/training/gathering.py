"""Several runs beside one another: what differs by a draw is one row, or one point of a line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from energynets.errors import BadInputError
from energynets.training.claim import flat
from energynets.training.report import Table

Run = Mapping[str, Any]  # the "scores" of a run's report
# What a config may differ in though its run is another draw of the same setting.
_DRAWN = (
    *("report.", "start_from", "train.seed", "labels.draw"),
    *("train.workers", "train.log_every", "train.save_every", "train.keep_every"),
)


def settings(config: Any) -> dict[str, str]:
    """What makes a config's run a setting of its own: all keys but seeds, draws and reports."""
    # A report holds lists where a config holds tuples.
    return {
        name: str(list(value) if isinstance(value, tuple) else value)
        for key, value in flat(config.to_dict()).items()
        if not (name := key.removeprefix("config.")).startswith(_DRAWN)
    }


def refuse_missing(folder: str, workdir: Path) -> None:
    """A folder of runs, config.report.runs, must be there, or come with the run that lies in it.

    Raises:
        BadInputError: if it does not; "" asks for none.
    """
    comes = workdir.absolute().is_relative_to(Path(folder).absolute())
    if folder and not (Path(folder).is_dir() or (comes and not Path(folder).exists())):
        raise BadInputError(
            f"config.report.runs: wanted a folder of runs, got {folder!r}, which is none"
        )


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
            measure's distance from their mean, of the same method, the same other keys, pictures
            and network, is told as well.

    Runs whose scores["run"]["settings"], see `settings`, differ otherwise are rows of their own,
    with what differs in a column "where". Rows keep the order in which the settings first came.
    With a single run there is no deviation.
    """
    settings = alike(runs, keys)
    others = [key for key in keys if key not in (full or {})]
    references = [
        run
        for run in runs
        if full and all(str(run["run"][key]) == str(value) for key, value in full.items())
    ]
    rows = []
    for setting, method, of in _by_method(settings, methods):
        row: list[str | float | None] = [*_named(settings, setting), method, str(len(of))]
        for measure in measures:
            values = [run[method].get(measure) for run in of]
            row += _mean_and_spread([value for value in values if value is not None])
        if references:
            # Runs of one setting have the same pictures and network: the first stands for all.
            reference = [
                run[method][measures[0]]
                for run in references
                if method in run and _comparable(run, of[0], others)
            ]
            found = mean(run[method][measures[0]] for run in of)
            row.append(found - mean(reference) if reference else None)
        rows.append(row)
    columns = [*keys, *_where(settings), "method", "runs"]
    for measure in measures:
        columns += [measure, "±"]
    return Table(title, columns + (["from full"] if references else []), rows)


def methods_beside(
    title: str, runs: Sequence[Run], *, keys: Sequence[str], methods: Sequence[str], measure: str
) -> Table:
    """A row for each setting, and of each method a column with the measure's mean and deviation.

    So an energy in the loss, afterwards, or both stand in one table. Arguments as in `table`.
    """
    settings = alike(runs, keys)
    rows = []
    for setting, of in settings.items():
        row: list[str | float | None] = [*_named(settings, setting), str(len(of))]
        for method in methods:
            row += _mean_and_spread([run[method][measure] for run in of if method in run])
        rows.append(row)
    columns = [*keys, *_where(settings), "runs"]
    for method in methods:
        columns += [f"{measure}, {method}", "±"]
    return Table(title, columns, rows)


def alike(runs: Sequence[Run], keys: Sequence[str]) -> dict[tuple[str, ...], list[Run]]:
    """The runs by what their settings have at `keys`, and by where they differ otherwise.

    The last part of a setting is a text of that difference, "" where there is none. Settings keep
    the order in which they first came.
    """
    found: dict[tuple[str, ...], list[Run]] = {}
    for run, told in zip(runs, _differences(runs, keys), strict=True):
        setting = (*(str(run["run"][key]) for key in keys), told)
        found.setdefault(setting, []).append(run)
    return found


def folders(runs: Sequence[Run], keys: Sequence[str]) -> dict[str, list[Path]]:
    """Where the runs of each setting of `alike` were written, by the setting in words."""
    settings = alike(runs, keys).items()
    return {
        ", ".join(filter(None, setting)): [Path(run["folder"]) for run in of]
        for setting, of in settings
    }


def _where(settings: Mapping[tuple[str, ...], Any]) -> list[str]:
    """The heading of a column for differences, if there are any."""
    return ["where"] if any(setting[-1] for setting in settings) else []


def _named(settings: Mapping[tuple[str, ...], Any], setting: tuple[str, ...]) -> tuple[str, ...]:
    """The first columns of a setting's row."""
    return setting if _where(settings) else setting[:-1]


def _by_method(
    settings: Mapping[tuple[str, ...], Sequence[Run]], methods: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], str, list[Run]]]:
    """Each setting and method with the runs that have it, where there are any."""
    for setting, runs in settings.items():
        for method in methods:
            having = [run for run in runs if method in run]
            if having:
                yield setting, method, having


def _comparable(first: Run, second: Run, keys: Sequence[str]) -> bool:
    """Whether runs agree at `keys` and in data and network, whatever they learn from and how."""
    mine, other = (run["run"].get("settings", {}) for run in (first, second))
    return all(str(first["run"][key]) == str(second["run"][key]) for key in keys) and all(
        other.get(key, value) == value
        for key, value in mine.items()
        # Mean field as a layer is a method on top of a network.
        if key.startswith(("data.", "network.")) and key != "network.crf_rounds"
    )


def _mean_and_spread(values: Sequence[float]) -> list[float | None]:
    return [mean(values) if values else None, stdev(values) if len(values) > 1 else None]


def _differences(runs: Sequence[Run], keys: Sequence[str], but: str = " ") -> list[str]:
    """For each run what its settings have that others with the same `keys` have not, as a text.

    Settings whose name begins with `but` do not count.
    """
    alike: dict[tuple, list[Mapping[str, str]]] = {}
    for run in runs:
        of = tuple(str(run["run"][key]) for key in keys)
        alike.setdefault(of, []).append(run["run"].get("settings", {}))
    told = []
    for run in runs:
        mine = run["run"].get("settings", {})
        others = alike[tuple(str(run["run"][key]) for key in keys)]
        differing = [
            key
            for key, value in mine.items()
            if not key.startswith(but) and any(of.get(key, value) != value for of in others)
        ]
        told.append(", ".join(f"{key} {mine[key]}" for key in differing))
    return told


def along(
    runs: Sequence[Run], key: str, *, names: Sequence[str], method: str, measure: str
) -> dict[str, dict[str, list[float]]]:
    """For each setting the values of a method's measure at every value of `key`, to be drawn.

    Args:
        key, names: of scores["run"]: what changes along a line, and what tells lines apart.

    The name of a setting has its parts with commas between them, and the method unless it is the
    network. Runs whose settings differ in more than their labels are lines of their own, with what
    differs in their names. Settings keep the order in which they first came; runs without the
    method are passed over.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for run, told in zip(runs, _differences(runs, names, "labels."), strict=True):
        if method in run:
            name = ", ".join(str(run["run"][of]) for of in names)
            name += f", {method.removeprefix('network, ')}" if method != "network" else ""
            name += f", {told}" if told else ""
            at = found.setdefault(name, {}).setdefault(str(run["run"][key]), [])
            at.append(run[method][measure])
    return found

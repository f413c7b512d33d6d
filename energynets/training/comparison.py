"""Methods beside one another on the same pictures: measured, averaged, timed, set in tables.

A report is made in three steps: `over_pictures` gathers what each method scores on each picture
(`with_exact` solves and measures an energy), `means` and sums of the task's own turn that into
scores, `table` sets them out. What needs the task's knowledge stays with the task.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energynets.metrics import segmentation
from energynets.training.journal import progress_bar
from energynets.training.report import Table, seconds

Tree = Any
Scores = Mapping[str, Mapping[str, Any]]  # method, then measure
Groups = Mapping[str, Mapping[str, float]]  # keywords of an energy by name: {"beta 100": {…}}


def over_pictures(
    length: int, measure: Callable[[int], Scores], *, title: str = "comparing"
) -> dict[str, dict[str, np.ndarray]]:
    """`measure(index)`, numbers or arrays by method and measure, stacked over the pictures.

    Methods and measures keep the order in which they came. A measure that some pictures lack, for
    want of truth say, is stacked over the others.
    """
    found: dict[str, dict[str, list]] = {}
    with progress_bar(title, length) as bar:
        for index in range(length):
            for method, values in measure(index).items():
                for name, value in values.items():
                    found.setdefault(method, {}).setdefault(name, []).append(np.asarray(value))
            bar.advance()
    return {m: {name: np.stack(v) for name, v in of.items()} for m, of in found.items()}


def with_exact(
    problem: Tree,
    answers: Mapping[str, np.ndarray],
    groups: Groups,
    *,
    energy: Callable[..., jax.Array],
    solve: Callable[..., Any],
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """The answers and, for each group, that of "exact, GROUP"; and the energies of them all.

    `energy(problem, answer, **keywords)` and `solve(problem, **keywords)` are called in float64,
    with the keywords of each group. Measured are "energy, GROUP" for every answer and group, and
    for the exact ones "unsolved", 1 where the solver says that it did not converge.
    """
    answers = dict(answers)
    unsolved = {}
    with jax.enable_x64(True):
        exact = in_float64(problem)
        for group, keywords in groups.items():
            solution = solve(exact, **keywords)
            answers[f"exact, {group}"] = np.asarray(solution.value)
            unsolved[f"exact, {group}"] = {"unsolved": float(not solution.converged)}
        measured = {
            method: {
                f"energy, {group}": float(energy(exact, jnp.asarray(y, jnp.float64), **keywords))
                for group, keywords in groups.items()
            }
            for method, y in answers.items()
        }
    return answers, {m: {**of, **unsolved.get(m, {})} for m, of in measured.items()}


def in_float64(problem: Tree) -> Tree:
    """The problem's arrays in double precision; within `jax.enable_x64(True)`."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), problem)


def means(
    measured: Mapping[str, Mapping[str, np.ndarray]], *, pixels: int = 0
) -> dict[str, dict[str, Any]]:
    """For each method the mean over pictures of every measure that is one number a picture.

    With `pixels`, those of a picture, "energy, GROUP a pixel" stands beside each energy.
    """
    scores: dict[str, dict[str, Any]] = {}
    for method, values in measured.items():
        of = {name: float(v.mean()) for name, v in values.items() if v.ndim == 1}
        energies = {name for name in of if pixels and name.startswith("energy, ")}
        scores[method] = of | {f"{name} a pixel": of[name] / pixels for name in sorted(energies)}
    return scores


def labels_scored(
    measured: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, dict[str, Any]]:
    """`means`, with the scores of label maps where there is a "confusion" of each picture, and
    "collapsed" where there are the sums of `segmentation.one_label`."""
    scores = means(measured)
    for method, of in measured.items():
        if "collapsed" in of:
            sums = {name: of[name].sum() for name in ("collapsed", "several")}
            scores[method]["collapsed"] = segmentation.collapse(sums)
            del scores[method]["several"]
        if "confusion" in of:
            scores[method] |= segmentation.summary(of["confusion"])
    return scores


def table(title: str, scores: Scores, columns: Mapping[str, str]) -> Table:
    """A row for each method, a column for each measure of `columns`, which gives its heading.

    Measures of groups, such as the energy for each of several betas, are columns side by side. A
    place stays empty where a method lacks the measure, a column is left out where all do.
    """
    made = grouped("", title, {"": scores}, columns)
    return made._replace(columns=made.columns[1:], rows=[row[1:] for row in made.rows])


def grouped(
    what: str, title: str, groups: Mapping[str, Scores], columns: Mapping[str, str]
) -> Table:
    """`table` for each group of pictures, one below the other, under the same columns.

    `what` is the heading of the first column, which names the group.
    """
    all_scores = [of for scores in groups.values() for of in scores.values()]
    used = [name for name in columns if any(name in of for of in all_scores)]
    rows = [
        [group, method, *(of.get(name) for name in used)]
        for group, scores in groups.items()
        for method, of in scores.items()
    ]
    return Table(title, [what, "method", *(columns[name] for name in used)], rows)


def energy_tables(scores: Scores, groups: Groups, measures: Sequence[str]) -> list[Table]:
    """`measures` and the energies of every group, and the energies a pixel."""
    columns = {name: name for name in measures}
    columns |= {f"energy, {group}": f"E, {group}" for group in groups}
    a_pixel = {f"energy, {group} a pixel": f"E, {group}" for group in groups}
    return [table("Scores", scores, columns), table("Energy a pixel", scores, a_pixel)]


def timed(
    what: str, calls: Mapping[str, tuple[str, Callable[[], Any]]], *, against: str
) -> tuple[dict[str, Any], Table]:
    """Median seconds of each call, compiled, on this device: for `Report.timing`, and as a table.

    what: what one call does: "one picture of 128×128" say.
    calls: for each method its arithmetic, "float32" say, and the call.
    against: the method whose speed-up over each of the others is told.
    """
    times = {method: seconds(call) for method, (_, call) in calls.items()}
    rows = [[m, calls[m][0], t, t / times[against]] for m, t in times.items()]
    columns = ["method", "arithmetic", "seconds", f"{against} is × faster"]
    return {"of": what, "seconds": times}, Table(f"Seconds for {what}", columns, rows)


def exact_calls(
    problem: Tree, groups: Groups, solve: Callable[..., Any]
) -> dict[str, tuple[str, Callable[[], Any]]]:
    """What `timed` takes for the exact solution of each group, in float64."""
    with jax.enable_x64(True):
        exact = in_float64(problem)

    def call(keywords: Mapping[str, float]) -> Any:
        with jax.enable_x64(True):
            return solve(exact, **keywords)

    return {f"exact, {group}": ("float64", partial(call, of)) for group, of in groups.items()}


def exact_line(
    measured: Mapping[str, Mapping[str, np.ndarray]],
    group: str,
    first: int,
    *,
    name: str = "validation/loss",
) -> dict[str, float]:
    """For `Report.lines`: the exact energy of the `first` pictures, which the scalar `name` is of.

    Empty if there are none such, or the group that was trained on is not among those measured.
    """
    energies = measured.get(f"exact, {group}", {}).get(f"energy, {group}")
    if energies is None or not first:
        return {}
    return {name: float(energies[:first].mean())}


def energies_told(measured: Scores, method: str, group: str) -> list[str]:
    """For a picture's notes: by how much a method's energy lies above the exact one's."""
    name = f"energy, {group}"
    ratio = measured[method][name] / max(measured[f"exact, {group}"][name], 1e-30)
    return [f"E {method} / exact: {ratio:.3g}"]


def unsolved_told(measured: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """A sentence if there were exact solutions that did not converge."""
    count = sum(int(of["unsolved"].sum()) for of in measured.values() if "unsolved" in of)
    return [f"{count} exact solutions did not converge."] if count else []


def supervised_told(
    scores: Scores, method: str, known: int, pictures: int
) -> tuple[Scores, list[str]]:
    """The scores with the method under a name that says which masks it saw, and a sentence on it.

    known: so many of so many training `pictures` showed their mask; if none, nothing is said.
    """
    if not known:
        return scores, []
    told = f"masks of {known} of {pictures} training pictures"
    named = {f"{method}, {told}" if m == method else m: of for m, of in scores.items()}
    return named, [f"Not without labels: the {method} was trained with the {told}."]


def ratios_told(scores: Scores, method: str, groups: Groups) -> list[str]:
    """How many times the least energy of each group the method's is; nothing where that is 0."""
    energies = {
        group: [scores[of][f"energy, {group}"] for of in (method, f"exact, {group}")]
        for group in groups
    }
    told = [f"{ours / least:.3g} ({group})" for group, (ours, least) in energies.items() if least]
    return [f"Energy of the {method} in units of the least: {', '.join(told)}."] if told else []


def difference_told(what: str, difference: Sequence[float]) -> list[str]:
    """A sentence on what `metrics.bootstrap.difference` found, unless that is nan."""
    if np.isnan(difference[0]):
        return []
    told = "{}: {:+.3f}, bootstrap over pictures 95 % [{:+.3f}, {:+.3f}]."
    return [told.format(what, *difference)]

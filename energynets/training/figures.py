"""Pictures of a run: training curves, and grids of images, maps and probabilities."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from scipy import ndimage

from energynets.training.journal import read_metrics

# Of the first ten lines, the second ten, …, and of levels.
_DASHES = ("-", ":", "-.", (0, (3, 1, 1, 1, 1, 1)))
_LEVELS = ("--", (0, (9, 4)), (0, (2, 5)), (0, (9, 3, 2, 3)))


def draw_training(workdir: Path, lines: Mapping[str, float] | None = None) -> None:
    """`figures/training.png`: a panel for every logged scalar, those of validation last.

    Training and validation do not share one, since augmented pictures of which a part of the seeds
    is hidden have other energies. `lines` gives scalars a dashed line to be compared with, such as
    the least value. Positive scalars that change a lot are drawn on a logarithmic scale.
    """
    lines = lines or {}
    curves = _curves(read_metrics(workdir))
    if not curves:
        return
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = _pyplot().subplots(
        rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(curves) :]:
        axis.axis("off")
    names = sorted(curves, key=lambda name: (name.startswith("validation/"), name))
    for axis, name in zip(axes.flat, names, strict=False):
        steps, values = zip(*curves[name], strict=True)
        axis.plot(steps, values, linewidth=1)
        axis.set_title(name)
        axis.set_xlabel("step")
        if min(values) > 0 and (name.endswith("energy") or max(values) > 20 * min(values)):
            axis.set_yscale("log")
        if name in lines:
            axis.axhline(lines[name], color="0.3", linestyle="--", label="exact")
            axis.legend(fontsize=7)
    _save(figure, workdir / "figures" / "training.png")


def draw_runs(path: Path, runs: Mapping[str, Sequence[Path]], scalars: Sequence[str]) -> None:
    """One panel for each logged scalar, with a line for each name against the step.

    Of several runs of a name the line is their mean, and a band around it their deviation, at the
    steps that all of them logged. Runs that never logged a scalar do not count; where none did,
    nothing is drawn.
    """
    curves = {
        name: [_curves(read_metrics(folder)) for folder in folders]
        for name, folders in runs.items()
    }
    if not any(scalar in of for read in curves.values() for of in read for scalar in scalars):
        return
    figure, axes = _pyplot().subplots(
        1, len(scalars), figsize=(5 * len(scalars), 4), squeeze=False, layout="constrained"
    )
    for axis, scalar in zip(axes.flat, scalars, strict=True):
        for number, (name, read) in enumerate(curves.items()):
            logged = [dict(of[scalar]) for of in read if scalar in of]
            if not logged:
                continue
            steps = sorted(set.intersection(*map(set, logged)))
            values = np.array([[curve[step] for step in steps] for curve in logged])
            means, look = values.mean(0), _look(number)
            axis.plot(steps, means, **look, linewidth=1, label=name)
            if len(logged) > 1:
                spread = values.std(0, ddof=1)
                axis.fill_between(
                    steps, means - spread, means + spread, color=look["color"], alpha=0.2
                )
        axis.set_title(scalar)
        axis.set_xlabel("step")
    told = [axis.get_legend_handles_labels() for axis in axes.flat]
    _name_below(figure, *max(told, key=lambda one: len(one[1])))
    _save(figure, path)


def draw_along(
    path: Path,
    lines: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    across: str,
    upwards: str,
) -> None:
    """Mean and standard deviation, as a bar, of the values at each number of each line, by name.

    Numbers come as texts; values at any other text, such as "all", are a dashed level at their
    mean, with their text in the legend where the line has numbers too. Nothing is drawn of no line.
    `across` and `upwards` are the axes' titles.
    """
    if not lines:
        return
    figure, axis = _pyplot().subplots(figsize=(6, 4), layout="constrained")
    for place, (name, values) in enumerate(lines.items()):
        numbers = sorted(filter(_is_number, values), key=float)
        level = {**_look(place), "linestyle": _LEVELS[place // 10 % len(_LEVELS)]}
        for at in (at for at in values if not _is_number(at)):
            label = f"{name}: {at}" if numbers else name
            axis.axhline(float(np.mean(values[at])), **level, linewidth=1, label=label)
        if numbers:
            means = [np.mean(values[at]) for at in numbers]
            # Of a single draw there is no deviation.
            spread = [np.std(of, ddof=1) if len(of := values[at]) > 1 else 0 for at in numbers]
            where, look = [float(at) for at in numbers], {**_look(place), "marker": "o"}
            axis.errorbar(where, means, spread, **look, capsize=3, linewidth=1, label=name)
    axis.set_xlabel(across)
    axis.set_ylabel(upwards)
    _name_below(figure, *axis.get_legend_handles_labels())
    _save(figure, path)


def _name_below(figure: Any, handles: Sequence[Any], names: Sequence[str]) -> None:
    """A legend in as many columns as the longest name leaves room for, two at most.

    Names that are wider than the figure are broken into lines, and the figure grows by the legend.
    """
    width, letter, line, space = figure.get_figwidth(), 0.06, 0.12, 0.05  # inches, at 7 points
    columns = 1 + (width >= 2 * (letter * max(map(len, names)) + 0.5))
    broken = [textwrap.fill(name, int((width - 0.7) / letter)) for name in names]
    height = sum(line * (name.count("\n") + 1) + space for name in broken) / columns
    figure.set_figheight(figure.get_figheight() + height)
    place = {"loc": "outside lower center", "fontsize": 7, "ncols": columns}
    figure.legend(handles, broken, **place)


def _look(place: int) -> dict[str, Any]:
    """Colour and dashes of a line; forty lines differ."""
    return {"color": f"C{place % 10}", "linestyle": _DASHES[place // 10 % len(_DASHES)]}


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """For each scalar its steps and values; without the loss where the energy is the same."""
    hidden = {"step", "seconds_a_step", "waiting"}
    curves: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        for name in record.keys() - hidden:
            if record[name] is not None:
                curves.setdefault(name, []).append((record["step"], record[name]))
    if "loss" in curves and curves["loss"] == curves.get("energy"):
        del curves["loss"]
    return curves


def draw_grid(
    path: Path,
    titles: Sequence[str],
    rows: Sequence[Sequence[Float[np.ndarray, "..."] | str]],
    labels: Sequence[str] | None = None,
) -> None:
    """Rows of pictures under one line of titles; H×W×3 in [0, 1], or H×W in [0, 1] as grey.

    A text in the place of a picture is written there; `labels` stand at the left of each row.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(
        len(rows),
        len(titles),
        figsize=(1.8 * len(titles) + (1.5 if labels else 0), 1.8 * len(rows) + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for (row, column), axis in np.ndenumerate(axes):
        picture = rows[row][column]
        if isinstance(picture, str):
            axis.text(0.5, 0.5, picture, ha="center", va="center", transform=axis.transAxes)
        else:
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.axis("off")
        if row == 0:
            axis.set_title(titles[column], fontsize=8)
        if column == 0 and labels:
            place = {"ha": "right", "va": "center", "transform": axis.transAxes}
            axis.text(-0.05, 0.5, labels[row], fontsize=7, parse_math=False, **place)
    _save(figure, path)


def outlined(
    image: Float[np.ndarray, "h w 3"], strokes: Bool[np.ndarray, "h w"], colours: Any
) -> Float[np.ndarray, "H W 3"]:
    """The image, enlarged, with `colours` (H×W×3 or one) on the strokes and a black outline."""
    times = max(2, 256 // max(image.shape[:2]))
    colours = np.broadcast_to(colours, image.shape)
    image, strokes, colours = (
        a.repeat(times, 0).repeat(times, 1) for a in (image, strokes, colours)
    )
    near = ndimage.binary_dilation(strokes, np.ones((3, 3)))
    return np.where(strokes[..., None], colours, np.where(near[..., None], 0.0, image))


class Answered(NamedTuple):
    """A picture with seeds, and what methods made of it.

    image: H×W×3 in [0, 1]; planes: H×W×K seeds; plane k stands for `labels[k]`.
    answers: for each method H×W×K probabilities.
    truth: labels at any size, or None.
    notes: lines to stand beside the pictures.
    """

    name: str
    image: Float[np.ndarray, "h w 3"]
    planes: Float[np.ndarray, "h w k"]
    labels: Int[np.ndarray, " k"]
    answers: Mapping[str, Float[np.ndarray, "h w k"]]
    truth: UInt8[np.ndarray, "H W"] | None
    notes: Sequence[str]


def draw_answers(path: Path, answered: Sequence[Answered], *, classes: int) -> None:
    """A line of pictures for each, in the manner of Fig. 2 of "Deep Energy"; none for none.

    The image with its seeds, each method's probability of one label, the truth, each method's
    labels. The label shown is the first that is seeded beside the background, 0, or that.
    """
    if not answered:
        return
    colours, rows, beside = label_colours(classes), [], []
    for one in answered:
        seeded = [k for k in np.flatnonzero(one.planes.any((0, 1))) if one.labels[k] > 0]
        plane = seeded[0] if seeded else int(one.planes.any((0, 1)).argmax())
        strokes = np.where(one.labels[:, None] == 0, 1.0, colours[one.labels])  # 0 is black below
        where = np.asarray(one.planes.any(-1))
        row: list[Any] = [outlined(one.image, where, strokes[one.planes.argmax(-1)])]
        row += [np.clip(p[..., plane], 0, 1) for p in one.answers.values()]
        row.append("no mask" if one.truth is None else colours[_shrunk(one.truth, one.image)])
        row += [colours[one.labels[p.argmax(-1)]] for p in one.answers.values()]
        rows.append(row)
        beside.append("\n".join([one.name, f"probability: label {one.labels[plane]}", *one.notes]))
    methods = [*answered[0].answers]
    titles = ["image and seeds\n(white: label 0)", *(f"{m}:\nprobability" for m in methods)]
    truth = "truth\n(black: label 0, white: unknown)"
    draw_grid(path, [*titles, truth, *(f"{m}:\nlabels" for m in methods)], rows, beside)


class Weak(NamedTuple):
    """A picture of which little is known, and what a network made of it.

    image: H×W×3 in [0, 1]; known: H×W×K planes; plane k stands for label k.
    answers: for each method H×W×K probabilities.
    pulls: for each energy how much descending it raises each label, H×W×K.
    truth: labels at any size, or None.
    """

    name: str
    image: Float[np.ndarray, "h w 3"]
    known: Float[np.ndarray, "h w k"]
    answers: Mapping[str, Float[np.ndarray, "h w k"]]
    pulls: Mapping[str, Float[np.ndarray, "h w k"]]
    truth: UInt8[np.ndarray, "H W"] | None


def draw_weak(path: Path, drawn: Sequence[Weak], *, classes: int) -> None:
    """A line for each picture, in the manner of Fig. 1 of "On Regularized Losses …": the image with
    what is known, each method's labels, the pull of each energy, the truth; nothing for none.

    The pull shown is that on the label above 0 of which the first method says most.
    """
    if not drawn:
        return
    colours, rows, names = label_colours(classes), [], []
    for one in drawn:
        first = next(iter(one.answers.values()))
        label = 1 + int(first.sum((0, 1))[1:].argmax())
        strokes = np.where(np.arange(classes)[:, None] == 0, 1.0, colours[:classes])
        where = np.asarray(one.known.any(-1))
        row: list[Any] = [outlined(one.image, where, strokes[one.known.argmax(-1)])]
        row += [colours[p.argmax(-1)] for p in one.answers.values()]
        row += [pushes(pull[..., label]) for pull in one.pulls.values()]
        row.append("no mask" if one.truth is None else colours[_shrunk(one.truth, one.image)])
        rows.append(row)
        names.append(f"{one.name}\npull on label {label}")
    pulls = [f"{name}\n(red: up, yellow: down)" for name in drawn[0].pulls]
    titles = ["image and labels\n(white: label 0)", *drawn[0].answers, *pulls, "truth"]
    draw_grid(path, titles, rows, names)


def pushes(descent: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Where an energy pulls a label: red where descending it raises the label, yellow where it
    lowers it, black where it does nothing; bright from the 99th percentile of the sizes on."""
    strength = np.abs(descent)
    bright = np.clip(strength / max(float(np.percentile(strength, 99)), 1e-30), 0, 1)
    return np.stack([bright, bright * (descent < 0), np.zeros_like(bright)], -1)


def _shrunk(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    size = image.shape[1::-1]
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def label_colours(count: int) -> Float[np.ndarray, "256 3"]:
    """A colour for each of `count` labels: 0, the background, is black; all others are white."""
    colours = np.ones((256, 3))
    colours[0] = 0
    colours[1:count] = _pyplot().get_cmap("tab20")(np.arange(1, count) % 20)[:, :3]
    return colours


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)

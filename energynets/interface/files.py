"""The command line's work: files in, files out, told as text or JSON."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from energynets.data import images, planes, strokes, trimaps
from energynets.data.writing import refuse_unwritable, refuse_unwritable_folder, write_picture
from energynets.errors import BadInputError

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm", ".pgm")
_MADE = {"segment": "labels", "matte": "alpha", "dehaze": "dehazed", "trimap": "trimap"}


class Job(NamedTuple):
    """image: the file. known: seeds, trimap or scribbles, if the command has any. output: the file
    to be written. aside: a second one, for the transmission."""

    image: Path
    known: Path | None
    output: Path
    aside: Path | None


class State(NamedTuple):
    """kind: shape and labels. values: probabilities, alpha or transmission."""

    kind: tuple
    values: np.ndarray


class Done(NamedTuple):
    """picture: what is written. aside: what is written beside it. told: for the reader. state: what
    the next frame of a video may begin with, if it is of the same kind."""

    picture: np.ndarray
    aside: np.ndarray | None
    told: dict[str, Any]
    state: State | None


def run(chosen: Namespace) -> int:
    """Does what the command line asks for; the exit status.

    Raises:
        BadInputError: before anything is done, if it cannot be done at all.
    """
    folder = chosen.image.is_dir()
    video = getattr(chosen, "video", False)
    if video and not folder:
        raise BadInputError(f"{chosen.image}: wanted a folder of frames for --video, got a file")
    if getattr(chosen, "method", "") is None:
        chosen.method = "polish" if video else "exact"
    if video and chosen.method != "polish":
        raise BadInputError(
            f"--video: wanted --method polish, which can go on from a frame, got {chosen.method}"
        )
    if getattr(chosen, "steps", 0) < 0:
        raise BadInputError(f"--steps: wanted at least 0, got {chosen.steps}")
    jobs = _jobs_of_folder(chosen) if folder else [_job_of_file(chosen)]
    state, broken, unsettled = None, [], 0
    for job in _with_bar(jobs, chosen) if folder else jobs:
        try:
            done = _work(job, chosen, state)
            write_picture(job.output, done.picture)
            if job.aside is not None and done.aside is not None:
                write_picture(job.aside, done.aside)
        except BadInputError as error:
            if not folder:
                raise
            told = str(error)
            broken.append(told if str(job.image) in told else f"{job.image}: {told}")
            continue
        if video:
            state = done.state
        unsettled += _unsettled(done, chosen)
        _tell(job, done, chosen)
    for line in broken:
        print(f"left out: {line}", file=sys.stderr)
    if folder and unsettled:
        print(
            f"warning: {unsettled} of {len(jobs)} pictures did not converge; --json tells which",
            file=sys.stderr,
        )
    if broken:
        print(f"{len(broken)} of {len(jobs)} pictures left out", file=sys.stderr)
    return 1 if broken else 0


def _job_of_file(chosen: Namespace) -> Job:
    made = _MADE[chosen.command]
    output = chosen.output or chosen.image.with_name(f"{chosen.image.stem}_{made}.png")
    if output.is_dir():
        output = output / f"{chosen.image.stem}_{made}.png"
    known, aside = _known(chosen), getattr(chosen, "transmission", None)
    if not chosen.image.is_file():
        raise BadInputError(f"{chosen.image}: wanted an image file or a folder, got none")
    if known is not None and known.is_dir():
        raise BadInputError(f"{known}: wanted a file, as for the image, got a folder")
    for path in (output, aside):
        if path is None:
            continue
        refuse_unwritable(path, exact=path is output and made in ("labels", "trimap"))
        _refuse_input(path, chosen.image, known)
    if aside is not None and aside.resolve() == output.resolve():
        raise BadInputError(f"{aside}: wanted another file than the result's, got the same")
    return Job(chosen.image, known, output, aside)


def _jobs_of_folder(chosen: Namespace) -> list[Job]:
    """One job for each picture, in order of names; the folder for the results is made."""
    found = sorted(p for p in chosen.image.iterdir() if p.suffix.lower() in ENDINGS and p.is_file())
    if not found:
        raise BadInputError(f"{chosen.image}: wanted a folder with pictures, got none in it")
    made, known = _MADE[chosen.command], _known(chosen)
    if known is not None and not known.exists():
        raise BadInputError(f"{known}: wanted a file or a folder, got none")
    base = chosen.image.resolve()
    places = [chosen.output or base.with_name(f"{base.name}_{made}")]
    aside = getattr(chosen, "transmission", None)
    if aside is not None:
        if aside.resolve() == places[0].resolve():
            raise BadInputError(f"{aside}: wanted another folder than the results', got the same")
        places.append(aside)
    for place in places:
        if place.resolve() == base or (known is not None and place.resolve() == known.resolve()):
            raise BadInputError(f"{place}: wanted another folder than the input's, got the same")
        try:
            place.mkdir(exist_ok=True)
        except OSError as error:
            raise BadInputError(
                f"{place}: wanted a folder to write in, got: {error.strerror}"
            ) from None
        refuse_unwritable_folder(place)
    # Two pictures that differ in their ending alone keep it in the names of their results.
    stems = [path.stem for path in found]
    names = [p.name if stems.count(p.stem) > 1 else p.stem for p in found]
    jobs = []
    for path, name in zip(found, names, strict=True):
        paths = [place / f"{name}.png" for place in places] + [None]
        jobs.append(Job(path, _known_of(known, path), *paths[:2]))
    inputs = {path.resolve() for job in jobs for path in job[:2] if path is not None}
    for path in (path for job in jobs for path in job[2:] if path is not None):
        if path.resolve() in inputs:
            raise BadInputError(f"{path}: wanted another file than an input, got the same")
    return jobs


def _known(chosen: Namespace) -> Path | None:
    given = (getattr(chosen, name, None) for name in ("seeds", "trimap", "scribbles"))
    return next((path for path in given if path is not None), None)


def _known_of(known: Path | None, image: Path) -> Path | None:
    """The map of an image: the file for all, or that of its name in a folder."""
    if known is None or not known.is_dir():
        return known
    same = [known / f"{image.stem}{ending}" for ending in ENDINGS]
    # Where there is none, that name is what the message says.
    return next((path for path in same if path.is_file()), known / f"{image.stem}.png")


def _refuse_input(output: Path, *inputs: Path | None) -> None:
    for path in inputs:
        if path is not None and output.resolve() == path.resolve():
            raise BadInputError(f"{output}: wanted another file than the input, got the same")


def _with_bar(jobs: list[Job], chosen: Namespace) -> Iterator[Job]:
    from rich.console import Console
    from rich.progress import track

    # On standard error, so that standard output holds results alone.
    yield from track(jobs, chosen.command, console=Console(stderr=True))


def _tell(job: Job, done: Done, chosen: Namespace) -> None:
    told = {"image": str(job.image), "output": str(job.output), **done.told}
    if chosen.json:
        # JSON has no word for what is not a finite number.
        finite = {
            k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in told.items()
        }
        print(json.dumps(finite), flush=True)
    elif not chosen.image.is_dir():
        print(job.output)
        if _unsettled(done, chosen):
            print(
                f"warning: the residual is {done.told['residual']:.2g}, above the tolerance",
                file=sys.stderr,
            )


def _unsettled(done: Done, chosen: Namespace) -> bool:
    return done.told.get("converged") is False and chosen.method == "exact"


def _work(job: Job, chosen: Namespace, state: State | None) -> Done:
    if chosen.command == "trimap":
        return _trimap(job, chosen)
    image = images.read_image(job.image)
    began = time.perf_counter()
    try:
        done = {"segment": _segment, "matte": _matte, "dehaze": _dehaze}[chosen.command](
            job, image, chosen, state
        )
    except BadInputError as error:
        told = str(error)
        if not told.startswith("image:"):
            raise
        raise BadInputError(f"{job.image}:{told.removeprefix('image:')}") from None
    done.told["seconds"] = round(time.perf_counter() - began, 4)
    return done


def _trimap(job: Job, chosen: Namespace) -> Done:
    mask = trimaps.read_mask(job.image)
    trimaps.refuse_one_sided(mask, job.image)
    trimap = trimaps.from_mask(mask, chosen.width)
    try:
        trimaps.refuse_one_sided(trimap, job.image)
    except BadInputError as error:
        raise BadInputError(f"{error} left (--width {chosen.width:g} covers it)") from None
    shares = {k: float((trimap == v).mean()) for k, v in _KINDS.items()}
    return Done(trimap, None, shares, None)


_KINDS = {
    "background": trimaps.BACKGROUND,
    "unknown": trimaps.UNKNOWN,
    "foreground": trimaps.FOREGROUND,
}


def _options(chosen: Namespace, state: State | None, kind: tuple) -> dict[str, Any]:
    return {
        "method": chosen.method,
        "steps": chosen.steps,
        "optimality": chosen.gap,
        "start": state.values if state is not None and state.kind == kind else None,
    }


def _numbers(record: Any, chosen: Namespace) -> dict[str, Any]:
    told = {
        "method": chosen.method,
        "energy": record.energy,
        "residual": record.residual,
        "converged": record.converged,
        "steps": record.steps,
    }
    return told | ({"gap": record.gap} if chosen.gap else {})


def _read_known(job: Job, image: np.ndarray, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    assert job.known is not None
    return planes.aligned(read(job.known), job.known, image.shape, planes.orientation(job.image))


def _segment(job: Job, image: np.ndarray, chosen: Namespace, state: State | None) -> Done:
    from energynets.interface.segmenting import segment

    seeds = _read_known(job, image, strokes.read_seeds)
    if (seeds == 255).all():
        raise BadInputError(f"{job.known}: wanted at least one seeded pixel, got none")
    labels = np.unique(seeds[seeds != 255])
    kind = (seeds.shape, tuple(labels))
    record = segment(image, seeds, beta=chosen.beta, **_options(chosen, state, kind))
    told = {"labels": labels.tolist(), **_numbers(record, chosen)}
    return Done(record.labels, None, told, State(kind, record.probabilities))


def _matte(job: Job, image: np.ndarray, chosen: Namespace, state: State | None) -> Done:
    from energynets.interface.mattes import matte

    if chosen.trimap is not None:
        trimap = _read_known(job, image, trimaps.read_trimap)
    else:
        trimap = _read_known(job, image, lambda path: strokes.read_scribbles(path, image))
    trimaps.refuse_one_sided(trimap, job.known or job.image)
    options = _options(chosen, state, (trimap.shape,))
    record = matte(image, trimap, epsilon=chosen.epsilon, **options)
    told = {"unknown": float((trimap == trimaps.UNKNOWN).mean()), **_numbers(record, chosen)}
    if told["unknown"] == 0:
        print(f"{job.known}: nothing is unknown, so the trimap is the matte", file=sys.stderr)
    return Done(record.alpha, None, told, State((trimap.shape,), record.alpha))


def _dehaze(job: Job, image: np.ndarray, chosen: Namespace, state: State | None) -> Done:
    from energynets.interface.clearing import dehaze

    record = dehaze(
        image,
        airlight=chosen.airlight,
        omega=chosen.omega,
        excess=chosen.excess,
        stretch=chosen.stretch,
        **_options(chosen, state, (image.shape,)),
    )
    told = {"airlight": [round(float(v), 4) for v in record.airlight], **_numbers(record, chosen)}
    state = State((image.shape,), record.transmission)
    return Done(record.image, record.transmission, told, state)

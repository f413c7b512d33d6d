"""Opening a source of pictures, with a progress bar and a line for each picture left out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from energynets.data import opening
from energynets.data.source import Source
from energynets.training.experiment import Config
from energynets.training.journal import console, progress_bar


def open_source(
    settings: Mapping[str, Any], split: str, *, needs_seeds: bool = True, masks: bool = False
) -> Source:
    """`opening.open_source`, whose arguments these are; tells what is left out."""
    with progress_bar(f"looking at {split}") as bar:
        source, faults = opening.open_source(
            settings, split, needs_seeds=needs_seeds, masks=masks, advance=bar.advance
        )
    for fault in faults:
        console.print(f"left out: {fault}", markup=False)
    if faults:
        console.print(f"{len(faults)} of {len(faults) + len(source)} pictures left out")
    return source


REPORTED = {
    "root": "",  # what to report on; "": config.data.root
    "split": "",  # "": config.data.validation
}


class Sources(NamedTuple):
    """What a run learns from, what it is measured on after each epoch, what it reports on."""

    train: Source
    validation: Source
    reported: Source


def open_all(config: Config, **how: Any) -> Sources:
    """The sources that `config.data` and `config.report` name, by the keys `train`, `validation`
    and `report.split`, `report.root` ("": those of validation). Masks are checked where they are
    measured on, and those of training are left alone; `how` as in `open_source`."""
    data, report = config.data, config.report
    train = open_source(data, data.train, **how)
    validation = open_source(data, data.validation, masks=True, **how)
    split, root = report.split or data.validation, report.root or data.root
    if (split, root) == (data.validation, data.root):
        return Sources(train, validation, validation)
    other = open_source({**data, "root": root}, split, masks=True, **how)
    return Sources(train, validation, other)

"""Opening a source of pictures, with a progress bar and a line for each picture left out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from energynets.data import opening
from energynets.data.checked import Subset
from energynets.data.labelled import FirstMasks
from energynets.data.source import Source
from energynets.training.experiment import Config
from energynets.training.journal import console, progress_bar


def open_source(settings: Mapping[str, Any], split: str, **how: bool) -> Source:
    """`opening.open_source`, whose arguments these are; tells what is left out."""
    with progress_bar(f"looking at {split}") as bar:
        source, faults = opening.open_source(settings, split, **how, advance=bar.advance)
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
    """What a run learns from, what it is measured on after each epoch, what it reports on.

    shared: so many pictures of `reported`, from the first on, are those of `validation`.
    """

    train: FirstMasks
    validation: Source
    reported: Source
    shared: int


def open_all(config: Config, *, labelled: float = 0.0, **how: Any) -> Sources:
    """The sources that a config names by `data.train`, `data.validation`, of which the first
    `data.validation_count` are taken (0: all), and by `report.split` and `report.root`.

    Masks are checked where they are measured on or learnt from. Those of training are hidden, but
    for the first share `labelled` of the pictures. `how` as in `open_source`.
    """
    data, report = config.data, config.report
    train = FirstMasks(open_source(data, data.train, masks=labelled > 0, **how), labelled)
    held_out = open_source(data, data.validation, masks=True, **how)
    count = min(data.validation_count or len(held_out), len(held_out))
    validation = Subset(held_out, [*range(count)])
    split, root = report.split or data.validation, report.root or data.root
    if (split, root) == (data.validation, data.root):
        return Sources(train, validation, held_out, count)
    other = open_source({**data, "root": root}, split, masks=True, **how)
    return Sources(train, validation, other, 0)

"""Opening a source of pictures, with a progress bar and a line for each picture left out."""

from collections.abc import Mapping
from typing import Any

from energynets.data import opening
from energynets.data.source import Source
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

"""The one exception that stands for a mistake of the user's, and how those of others are told."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class BadInputError(ValueError):
    """What the user gave cannot be used; the message is one line: what, wanted, got.

    Entry points print the message alone and exit with status 2; everything else is a defect
    and keeps its traceback.
    """


@contextmanager
def late_reads_silent() -> Iterator[None]:
    """After the first failed read, tensorstore's threads report the others to a closed loop."""
    told_before = sys.unraisablehook

    def told(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            told_before(unraisable)

    sys.unraisablehook = told
    try:
        yield
    except Exception:
        time.sleep(0.5)  # for the others: the state is a few MB
        raise
    finally:
        sys.unraisablehook = told_before


def first_words(error: Exception) -> str:
    """Kind and message of any error in one line, cut where it is long."""
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return told if len(told) < 300 else f"{told[:300]}…"

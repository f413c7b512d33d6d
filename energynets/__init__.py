"""Energies of classical vision, stated once: trained on, solved exactly, measured by."""

import importlib
from typing import TYPE_CHECKING, Any

from energynets.errors import BadInputError
from energynets.seeded import Seeded

if TYPE_CHECKING:
    from energynets.interface.clearing import dehaze
    from energynets.interface.mattes import matte
    from energynets.interface.segmenting import segment

__all__ = ["BadInputError", "Seeded", "dehaze", "matte", "segment"]
__version__ = "0.1.0"

# Solvers and networks are imported when they are first asked for, so that `import energynets`
# costs no more than its energies do.
_LATER = {
    "dehaze": "energynets.interface.clearing",
    "matte": "energynets.interface.mattes",
    "segment": "energynets.interface.segmenting",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'energynets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

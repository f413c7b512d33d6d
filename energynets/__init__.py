"""Energies of classical vision, stated once: trained on, solved exactly, measured by."""

from energynets.errors import BadInputError
from energynets.seeded import Seeded

__all__ = ["BadInputError", "Seeded"]
__version__ = "0.1.0"

"""Minimisers of the energies, each returning `Solution(value, residual, steps, converged)`."""

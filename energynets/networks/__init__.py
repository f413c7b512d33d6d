"""Flax modules from image to scores; none knows what it is trained by."""

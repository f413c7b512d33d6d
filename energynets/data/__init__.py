"""Pictures addressed by index, seeds, and augmentation: NumPy on the host, no JAX."""

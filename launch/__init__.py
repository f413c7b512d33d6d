"""How processes start: one host, several processes, SLURM, a TPU slice."""

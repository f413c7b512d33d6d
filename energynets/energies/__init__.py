"""One energy a file: `energy(input, prediction, *, weights…)`, one example in, one scalar out."""

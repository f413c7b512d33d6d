"""Tasks, one file each; none imports another."""

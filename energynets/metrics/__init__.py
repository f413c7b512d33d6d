"""Per-example values and sufficient statistics; averages over a data set are the report's."""

"""The `Experiment` record, the one loop, schedules, checkpoints, sharding and reports."""

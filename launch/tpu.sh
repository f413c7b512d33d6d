#!/usr/bin/env bash
# Runs an experiment on every host of a TPU slice on which this project lies at ~/energynets:
#   TPU=NAME ZONE=ZONE launch/tpu.sh experiments.seeded_seg --config=… --workdir=gs://… or shared
set -euo pipefail
: "${TPU:?wanted the name of the slice}" "${ZONE:?wanted its zone}"
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all \
    --command "cd ~/energynets && .venv/bin/python -m launch.join $(printf '%q ' "$@")"

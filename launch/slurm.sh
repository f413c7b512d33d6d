#!/usr/bin/env bash
# sbatch --nodes=2 --ntasks-per-node=1 launch/slurm.sh experiments.seeded_seg --config=… --workdir=…
#SBATCH --job-name=energynets
#SBATCH --output=%x_%j.log
set -euo pipefail
srun .venv/bin/python -m launch.join "$@"

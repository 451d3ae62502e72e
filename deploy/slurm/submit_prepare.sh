#!/bin/bash
# Submit the array that fills the cache and the job that makes the study after it.
#
#   deploy/slurm/submit_prepare.sh 16 adni raw/ADNI nacc raw/NACC --out study --cache cubes

set -euo pipefail

if (( $# < 2 )) || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: $0 SLICES (arguments of medblip prepare)" >&2
  exit 2
fi
slices=$1
shift
script=$(dirname "$0")/prepare_array.sbatch
array=$(sbatch --parsable --array="1-$slices" "$script" "$@")
# afterany: a slice that failed leaves its scans to the last job.
sbatch --dependency="afterany:${array%%;*}" "$script" "$@"

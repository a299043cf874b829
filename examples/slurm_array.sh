#!/usr/bin/env bash
# Methods x targets x seeds as a SLURM array: one task a cell, each resumable, so that requeued tasks continue.
#
#   sbatch --array=0-35 examples/slurm_array.sh digits runs/digits
#SBATCH --job-name=dgdd
#SBATCH --gpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --requeue
set -euo pipefail

dataset=${1:?usage: slurm_array.sh DATASET OUT}
out=${2:?usage: slurm_array.sh DATASET OUT}
methods=(dm dm-balanced sgs)
seeds=(0 1 2)
mapfile -t targets < <(python3 -c "
from dgdd_cli.data.load import locate
print(*locate('$dataset', data_dir=None).domain_names, sep='\n')")

cells=$((${#methods[@]} * ${#targets[@]} * ${#seeds[@]}))
task=${SLURM_ARRAY_TASK_ID:?submit this with sbatch --array=0-$((cells - 1))}
method=${methods[$((task % ${#methods[@]}))]}
target=${targets[$((task / ${#methods[@]} % ${#targets[@]}))]}
seed=${seeds[$((task / ${#methods[@]} / ${#targets[@]}))]}
bundle="$out/$method-${target// /_}-$seed.safetensors"

mkdir -p "$out"
if [[ ! -e $bundle ]]; then
  # For several GPUs a task: torchrun --nproc-per-node N -m dgdd_cli distill ... (every rank has probes of its own).
  dgdd distill "$dataset" --method "$method" --target "$target" --seed "$seed" --out "$bundle" --resume -q
fi
dgdd evaluate "$bundle" --dataset "$dataset" --seed "$seed" --json > "$bundle.json.part"
mv "$bundle.json.part" "$bundle.json"

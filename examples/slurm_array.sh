#!/usr/bin/env bash
# Methods x targets x seeds as a SLURM array: one task a cell, each resumable, so that requeued tasks continue.
#
#   sbatch --array=0-35 examples/slurm_array.sh digits runs/digits
#   METHODS="dm sgs" SEEDS="0 1" DGDD_DATA=~/datasets sbatch --array=0-15 examples/slurm_array.sh pacs runs/pacs
#
# Every DGDD_* variable (DGDD_STEPS, DGDD_IMAGE_SIZE ...) acts as it does on the command line.
#SBATCH --job-name=dgdd
#SBATCH --gpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --requeue
set -euo pipefail

dataset=${1:?usage: slurm_array.sh DATASET OUT}
out=${2:?usage: slurm_array.sh DATASET OUT}
read -ra methods <<< "${METHODS:-dm dm-balanced sgs}"
read -ra seeds <<< "${SEEDS:-0 1 2}"
domains=$(python3 - "$dataset" <<'EOF'
import os, pathlib, sys
from dgdd_cli.data.load import locate
data = os.environ.get("DGDD_DATA")
print(*locate(sys.argv[1], data_dir=pathlib.Path(data) if data else None).domain_names, sep="\n")
EOF
)
mapfile -t targets <<< "$domains"

cells=$((${#methods[@]} * ${#targets[@]} * ${#seeds[@]}))
task=${SLURM_ARRAY_TASK_ID:?submit this with sbatch --array=0-$((cells - 1))}
((task < cells)) || { echo "task $task: there are only $cells cells, --array=0-$((cells - 1))" >&2; exit 2; }
method=${methods[task % ${#methods[@]}]}
target=${targets[task / ${#methods[@]} % ${#targets[@]}]}
seed=${seeds[task / ${#methods[@]} / ${#targets[@]}]}
bundle="$out/$method-${target// /_}-$seed.safetensors"

mkdir -p "$out"
if [[ ! -e $bundle ]]; then
  # For several GPUs a task: torchrun --nproc-per-node N -m dgdd_cli distill ... (every rank has probes of its own).
  dgdd distill "$dataset" --method "$method" --target "$target" --seed "$seed" --out "$bundle" --resume -q
fi
dgdd evaluate "$bundle" --dataset "$dataset" --seed "$seed" --json > "$bundle.json.part"
mv "$bundle.json.part" "$bundle.json"

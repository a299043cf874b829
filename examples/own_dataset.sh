#!/usr/bin/env bash
# Your own images: any folder <domain>/<class>/<image> is a dataset. Two sources and a target are enough.
#
#   bash examples/own_dataset.sh path/to/folder target-domain
set -euo pipefail

folder=${1:?usage: own_dataset.sh FOLDER TARGET}
target=${2:?usage: own_dataset.sh FOLDER TARGET}

# --print-config shows every setting; save it, edit it, and give it back with --config.
dgdd distill "$folder" --target "$target" --ipc 1 --print-config > own.toml
dgdd distill --config own.toml --out own.safetensors --force

# The bundle does not hold the folder's path, so `evaluate` is told where the target's images are.
dgdd evaluate own.safetensors --dataset "$folder" --baseline random,balanced-random
dgdd inspect own.safetensors --gallery own.png --force

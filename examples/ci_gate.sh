#!/usr/bin/env bash
# A pipeline for CI: distil, check the file, gate on the accuracy, keep one JSON document of what was measured.
# Exit code 4 when the gate is not met, 3 when the bundle is damaged; see the table in the README.
#
#   bash examples/ci_gate.sh [DATASET] [MINIMUM ACCURACY]
set -euo pipefail

dataset=${1:-digits}
minimum=${2:-0.40}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# -q prints the path alone, so that the verbs chain; progress and warnings go to stderr.
bundle=$(dgdd distill "$dataset" --ipc 10 --method sgs --out "$out/bundle.safetensors" -q)
dgdd inspect "$bundle" --verify -q
dgdd evaluate "$bundle" --min-accuracy "$minimum" --json > evaluation.json
python3 - <<'PY'
import json

result = json.load(open("evaluation.json"))["results"][0]
print(f"{result['method']} on {result['target']} ({result['setting']}): {100 * result['accuracy']['mean']:.1f} %")
PY

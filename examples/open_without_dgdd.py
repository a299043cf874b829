#!/usr/bin/env python3
"""Open a bundle with safetensors alone: the images, the labels, and the manifest that says how to use them.

python examples/open_without_dgdd.py bundle.safetensors
"""

import json
import sys

import torch
from safetensors import safe_open

with safe_open(sys.argv[1], framework="pt") as bundle:
    manifest = json.loads(bundle.metadata()["dgdd"])
    images = bundle.get_tensor("images").float() / 255  # (N, 3, H, W), pixels in [0, 1]
    labels = bundle.get_tensor("labels")  # (N,)

mean = torch.tensor(manifest["normalise"]["mean"]).view(3, 1, 1)
std = torch.tensor(manifest["normalise"]["std"]).view(3, 1, 1)
inputs = (images - mean) / std

print(f"{len(labels)} images of {len(manifest['classes'])} classes: {', '.join(manifest['classes'])}")
print(f"distilled from {', '.join(manifest['domains'])} with {manifest['method']['name']}; target {manifest['target']}")
print(f"network input: {tuple(inputs.shape)}, mean {inputs.mean():.3f}, std {inputs.std():.3f}")

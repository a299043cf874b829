"""The bundle `dgdd/1`: one safetensors file with the distilled images and everything needed to use them."""

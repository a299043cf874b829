"""Files: written whole or not at all, the safetensors container, locks."""

"""The distillation loop and what it needs: seeds, probes, checkpoints."""

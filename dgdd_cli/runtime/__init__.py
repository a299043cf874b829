"""What a run takes place under: seeds, device, precision, ranks, memory, software."""

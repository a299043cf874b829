"""Many cells (recipe, target, seed): distilled and evaluated one by one, kept, and compared in pairs."""

"""Multi-domain image sets: the catalog, the readers, the cache and the split into sources and target."""

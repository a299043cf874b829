"""Groups of a dataset and how their losses are aggregated."""

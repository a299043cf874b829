"""From a bundle to accuracies: protocol, trainer, metrics, baselines, record."""

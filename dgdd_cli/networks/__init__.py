"""Networks by name: built on the CPU from a generator, so a name and a seed give the same weights everywhere."""

from dgdd_cli.networks.build import BATCH_NORMALISED, NETWORKS, Network, build
from dgdd_cli.networks.footprint import images_at_once

__all__ = ["BATCH_NORMALISED", "NETWORKS", "Network", "build", "images_at_once"]

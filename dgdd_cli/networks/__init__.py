"""Networks by name: built on the CPU from a generator, so a name and a seed give the same weights everywhere."""

from dgdd_cli.networks.backbone import DRAWN, Backbone, normalised_by
from dgdd_cli.networks.build import NETWORKS, blueprint, build
from dgdd_cli.networks.footprint import images_at_once

Network = Backbone

__all__ = ["DRAWN", "NETWORKS", "Backbone", "Network", "blueprint", "build", "images_at_once", "normalised_by"]

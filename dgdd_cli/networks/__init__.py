"""Networks by name: built on the CPU from a generator, so a name and a seed give the same weights everywhere."""

from dgdd_cli.networks.backbone import DRAWN, Backbone, normalised_by
from dgdd_cli.networks.build import NETWORKS, blueprint, build, foreign_weights
from dgdd_cli.networks.footprint import images_at_once

__all__ = ["DRAWN", "NETWORKS", "Backbone", "blueprint", "build", "foreign_weights", "images_at_once", "normalised_by"]

"""From per-domain gradients to the update: surgery wraps any matching that can give one loss a domain."""

from dgdd_cli.surgery.spectral import spectral_update

__all__ = ["spectral_update"]

"""Names for the shell's completion, found without torch: datasets, their domains, methods."""

from __future__ import annotations

from importlib import resources

import typer


def complete_dataset(incomplete: str) -> list[str]:
    """The catalog's dataset names."""
    from dgdd_cli.data.catalog import dataset_names

    return [name for name in dataset_names() if name.startswith(incomplete)]


def complete_domain(ctx: typer.Context, incomplete: str) -> list[str]:
    """The domain names of the catalog dataset that is already on the line."""
    from dgdd_cli.data.catalog import entry_for

    entry = entry_for(str(ctx.params.get("dataset") or ""))
    return [name for name in entry.domain_names if name.startswith(incomplete)] if entry else []


def complete_method(incomplete: str) -> list[str]:
    """The recipes that come with the package."""
    names = sorted(f.name for f in resources.files("dgdd_cli").joinpath("recipes").iterdir())
    stems = [name.removesuffix(".toml") for name in names if name.endswith(".toml")]
    return [stem for stem in stems if stem.startswith(incomplete)]

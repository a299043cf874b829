"""What the cache holds by kind, and what was deleted from it: `dgdd inspect --cache` and `--clear-cache KIND`."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from dgdd_cli.cli.output import Output, cell
from dgdd_cli.storage.cache import KINDS, Cache, Usage
from dgdd_cli.text import plural


def report_cache(output: Output, cache: Cache, schema: str) -> None:
    """Entries and bytes of every kind and in all."""
    found = cache.usage()
    total = sum(usage.bytes for usage in found)
    table = Table(title=cell(f"cache {cache.folder}", "bold"), title_justify="left", box=None, pad_edge=False)
    table.add_column("kind")
    table.add_column("entries", justify="right")
    table.add_column("size", justify="right")
    for usage in (*found, Usage("all", sum(usage.entries for usage in found), total)):
        table.add_row(cell(usage.kind, "cyan"), cell(f"{usage.entries:,}"), cell(_size(usage.bytes)))
    output.result(_document(cache, schema), human=table, quiet=str(total))


def clear_cache(output: Output, cache: Cache, kind: str, schema: str) -> None:
    """Delete the entries of a kind and say how many. Raises UnknownName."""
    gone = cache.clear(kind)
    said = f"deleted {plural(gone.entries, 'entry', 'entries')} of {kind}, {_size(gone.bytes)}, from {cache.folder}"
    cleared = {"kind": gone.kind, "entries": gone.entries, "bytes": gone.bytes}
    output.result(_document(cache, schema) | {"cleared": cleared}, human=said, quiet=str(gone.entries))


def complete_kind(incomplete: str) -> list[str]:
    """The kinds of entries, for the shell's completion."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


def _document(cache: Cache, schema: str) -> dict[str, Any]:
    found = cache.usage()
    return {
        "schema": schema,
        "kind": "cache",
        "path": str(cache.folder),
        "bytes": sum(usage.bytes for usage in found),
        "kinds": {usage.kind: {"entries": usage.entries, "bytes": usage.bytes} for usage in found},
    }


def _size(count: int) -> str:
    """Bytes in words that people read: 0 bytes, 12.3 KiB, 4.0 GiB."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.1f} {unit}"
    return plural(count, "byte")

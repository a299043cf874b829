"""Catalog sets as parquet files from the Hugging Face hub; huggingface_hub and pyarrow come with the extra `hub`."""

from __future__ import annotations

from pathlib import Path

from dgdd_cli.data.catalog import CatalogEntry
from dgdd_cli.errors import DataError
from dgdd_cli.progress import Progress, silent

INSTALL = "pip install 'dgdd[hub]'"


def fetch(
    entry: CatalogEntry,
    *,
    looked_in: Path | None = None,
    hub_cache: Path | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> tuple[Path, ...]:
    """The parquet files of a catalog set from the hub, downloaded unless the hub's own cache has them.

    Raises DataError when the extra is not installed, the hub cannot be reached, or the set is not cached and `offline`.
    """
    assert entry.hub is not None
    absent = f"{entry.name} is not in {looked_in}" if looked_in else f"no data folder with {entry.name} was given"
    by_hand = f"--data DIR, with the images as DIR/{entry.folder_names[0]}/<domain>/<class>/<image>"
    try:
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
        from pyarrow import parquet  # noqa: F401  (asked for now rather than after the download)
    except ImportError:
        raise DataError(
            f"{absent}, and fetching it from the Hugging Face hub needs the extra 'hub'",
            hint=f"{INSTALL}\nor {by_hand}",
        ) from None
    progress(f"fetching {entry.hub}", 0, 1)
    disable_progress_bars()
    try:
        folder = huggingface_hub.snapshot_download(
            entry.hub,
            repo_type="dataset",
            allow_patterns=["data/*.parquet"],
            cache_dir=hub_cache,
            local_files_only=offline,
        )
    except _hub_errors() as error:
        why = "it is not in its cache and --offline was given" if offline else first_line(error)
        raise DataError(
            f"{absent}, and {entry.hub} cannot be fetched from the Hugging Face hub: {why}",
            hint=("drop --offline\n" if offline else "check the network and try again\n") + f"or {by_hand}",
        ) from None
    finally:
        enable_progress_bars()
    progress(f"fetching {entry.hub}", 1, 1)
    paths = find_parquet(Path(folder))
    if not paths:
        raise DataError(f"{entry.hub} on the hub holds no data/*.parquet", hint=by_hand)
    return paths


def find_parquet(folder: Path) -> tuple[Path, ...]:
    """The parquet files of a folder or of its sub-folder `data`, sorted by name."""
    return tuple(sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet")))


def _hub_errors() -> tuple[type[Exception], ...]:
    """What a download raises: the hub's own errors, and those of whichever HTTP library it is built on."""
    from huggingface_hub import errors

    names = (
        *("HTTPError", "HfHubHTTPError", "EntryNotFoundError", "CachedRepoTreeNotFoundError"),
        *("RevisionResolutionError", "XetDownloadError", "CorruptedCacheException"),
    )
    present = [getattr(errors, name) for name in names if hasattr(errors, name)]
    return (OSError, ValueError, *present)


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

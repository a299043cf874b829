"""What the verbs keep in the cache folder is for whom the umask says, so that one cache serves several users."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run


@pytest.fixture
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002], ids=oct, indirect=True)
def test_everything_kept_has_the_mode_that_the_umask_gives(shapes_folder: Path, tmp_path: Path, umask: int) -> None:
    cache, out = tmp_path / "cache", tmp_path / "b.safetensors"
    common = ["--cache-dir", str(cache), "--progress", "none", "-q"]
    made = ["--method", "dm", "--ipc", "1", "--steps", "1", "--image-size", "8", "--target", "cyan"]
    probes = ["--probes", "bank:2", "--set", "probes.width=4", "--groups", "kmeans:1", "--risk", "cvar"]
    assert run(["distill", str(shapes_folder), *made, *probes, "--out", str(out), *common]) == 0
    tested = ["--baseline", "random", "--epochs", "1", "--repeats", "1", "--set", "width=4"]
    assert run(["evaluate", str(out), "--dataset", str(shapes_folder), *tested, *common]) == 0
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert {path.parent.name for path in kept} >= {"decoded", "banks", "groups", "scores"}
    assert {path.suffix for path in kept} >= {".safetensors", ".json"}
    modes = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in [*kept, out]}
    assert {path: oct(mode) for path, mode in modes.items() if mode != 0o666 & ~umask} == {}
    folders = {oct(stat.S_IMODE(path.stat().st_mode)) for path in [cache, *cache.iterdir()]}
    assert folders == {oct(0o777 & ~umask)}

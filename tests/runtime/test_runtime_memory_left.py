"""What is left is read from /proc and from control groups of either version, nested or seen from inside a container."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dgdd_cli.runtime import memory_left

V1 = {"limit": "memory.limit_in_bytes", "used": "memory.usage_in_bytes", "cache": "total_inactive_file"}
V2 = {"limit": "memory.max", "used": "memory.current", "cache": "inactive_file"}
WITHOUT = 9223372036854771712  # how version 1 says that there is no limit


@pytest.fixture
def proc(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    monkeypatch.setattr(memory_left, "PROC", folder)
    return folder


def belongs(proc: Path, groups: str, *mounts: str) -> None:
    (proc / "self" / "cgroup").write_text(groups)
    (proc / "self" / "mountinfo").write_text("\n".join(["23 1 0:28 / / rw,relatime - ext4 /dev/vda rw", *mounts, ""]))


def group(folder: Path, names: dict[str, str], limit: object, used: int, cache: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names["limit"]).write_text(f"{limit}\n")
    (folder / names["used"]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names['cache']} {cache}\nfile 9\n")


def test_what_the_machine_could_give_counts_the_page_cache(proc):
    (proc / "meminfo").write_text("MemTotal: 900 kB\nMemFree: 100 kB\nMemAvailable:     600 kB\n")
    assert memory_left.left_on_machine() == 600 * 1024


def test_version_2_limits_the_groups_around_a_group_too(proc, tmp_path):
    """`systemd-run -p MemoryMax=...` sets the limit on a slice or a scope that holds the process's own group."""
    root = tmp_path / "cgroup"
    belongs(proc, "0::/user.slice/mine.scope/own\n", f"24 23 0:29 / {root} rw,nosuid shared:4 - cgroup2 cgroup2 rw")
    group(root / "user.slice", V2, 9_000, 2_000)
    group(root / "user.slice" / "mine.scope", V2, 5_000, 1_500)
    group(root / "user.slice" / "mine.scope" / "own", V2, "max", 1_000)
    assert memory_left.left_in_groups() == 3_500
    group(root / "user.slice", V2, 4_000, 2_000)
    assert memory_left.left_in_groups() == 2_000


def test_version_1_has_a_tree_for_memory_alone(proc, tmp_path):
    root = tmp_path / "memory"
    mounts = [
        f"24 23 0:29 / {tmp_path / 'cpu'} rw - cgroup cgroup rw,cpu,cpuacct",
        f"25 23 0:30 / {root} rw - cgroup cgroup rw,memory",
        f"26 23 0:31 / {tmp_path / 'unified'} rw - cgroup2 cgroup2 rw",
    ]
    belongs(proc, "5:cpu,cpuacct:/other\n4:memory:/box/own\n0::/\n", *mounts)
    group(root, V1, WITHOUT, 10_000)
    group(root / "box" / "own", V1, WITHOUT, 10)
    group(tmp_path / "cpu" / "other", V1, 1, 1)
    assert memory_left.left_in_groups() is None
    group(root / "box", V1, 800, 300)
    assert memory_left.left_in_groups() == 500


@pytest.mark.parametrize(
    ("own", "root"),
    [("/", "/"), ("/docker/4f2a", "/docker/4f2a"), ("/docker/4f2a", "/"), ("/../other", "/")],
    ids=["namespace", "bind mount", "host's names", "outside the namespace"],
)
@pytest.mark.parametrize("names", [V1, V2], ids=["v1", "v2"])
def test_a_container_finds_its_limit_where_it_sees_its_group(proc, tmp_path, own, root, names):
    mount = tmp_path / "mounted"
    kind, groups = (
        ("cgroup cgroup rw,memory", f"3:memory:{own}\n") if names is V1 else ("cgroup2 cgroup2 rw", f"0::{own}\n")
    )
    belongs(proc, groups, f"24 23 0:29 {root} {mount} ro - {kind}")
    group(mount, names, 700, 300)
    assert memory_left.left_in_groups() == 400


@pytest.mark.parametrize("names", [V1, V2], ids=["v1", "v2"])
def test_cached_files_that_the_kernel_gives_back_are_free(proc, tmp_path, names):
    kind, groups = ("cgroup cgroup rw,memory", "3:memory:/\n") if names is V1 else ("cgroup2 cgroup2 rw", "0::/\n")
    belongs(proc, groups, f"24 23 0:29 / {tmp_path / 'm'} ro - {kind}")
    group(tmp_path / "m", names, 1_000, 900, cache=250)
    assert memory_left.left_in_groups() == 350
    (tmp_path / "m" / "memory.stat").unlink()
    assert memory_left.left_in_groups() == 100


def test_a_group_over_its_limit_leaves_nothing(proc, tmp_path):
    belongs(proc, "0::/\n", f"24 23 0:29 / {tmp_path / 'm'} ro - cgroup2 cgroup2 rw")
    group(tmp_path / "m", V2, 100, 300)
    assert memory_left.left_in_groups() == 0


def test_a_system_without_any_of_it_tells_nothing(proc, monkeypatch):
    monkeypatch.setattr("os.sysconf_names", {})
    assert memory_left.left_on_machine() is None
    assert memory_left.left_in_groups() is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux counts the address space there")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_leaves_what_it_has_not_taken(limit):
    """In a process of its own, which takes 64 MiB of what is left."""
    script = f"""
import mmap, resource
from dgdd_cli.runtime import memory_left as left
assert left.left_of_limits() is None
place = {{"RLIMIT_AS": 0, "RLIMIT_DATA": 5}}["{limit}"]
taken = left._pages(place) * resource.getpagesize()
resource.setrlimit(resource.{limit}, (taken + 2**28, -1))
before = left.left_of_limits()
block = mmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
print(before - 2**28, before - left.left_of_limits() - 2**26)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(abs(int(off)) < 2**22 for off in done.stdout.split()), done.stdout

"""What a process may still take: of the machine, of its control groups, and of its own limits."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc")

# Files of a control group by version: the limit, what is used, and the part of it that the kernel gives back at need.
FILES = {
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
UNLIMITED = 2**60  # version 1 says it as a number near 2^63


def left_on_machine() -> int | None:
    """What Linux says it could give without swapping, the page cache included; elsewhere the pages that are unused."""
    try:
        lines = (PROC / "meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        if "SC_AVPHYS_PAGES" not in os.sysconf_names:
            return None
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def left_in_groups() -> int | None:
    """The least that any of the process's control groups leaves, its own and those around it; None without a limit."""
    left = [found for version, folder in _groups() if (found := _left_in(folder, version)) is not None]
    return min(left, default=None)


def left_of_limits() -> int | None:
    """What the limits of address space and of data (`ulimit -v`, `ulimit -d`) leave; None without one."""
    left = []
    for limit, place in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and (pages := _pages(place)) is not None:
            left.append(max(0, soft - pages * resource.getpagesize()))
    return min(left, default=None)


def _pages(place: int) -> int | None:
    """A field of /proc/self/statm: 0 is the address space, 5 the data."""
    try:
        return int((PROC / "self" / "statm").read_text(encoding="ascii").split()[place])
    except (OSError, ValueError, IndexError):
        return None


def _groups() -> Iterator[tuple[str, Path]]:
    """The folders of the control groups that the process is in, from its own to the outermost that can be seen."""
    try:
        own = [line.split(":", 2) for line in (PROC / "self" / "cgroup").read_text().splitlines()]
        mounts = [line.split(" - ") for line in (PROC / "self" / "mountinfo").read_text().splitlines()]
    except OSError:
        return
    path_of = {}
    for _, controllers, path in own:
        if not controllers:
            path_of["cgroup2"] = PurePosixPath(path)
        elif "memory" in controllers.split(","):
            path_of["cgroup"] = PurePosixPath(path)
    for place, kind in mounts:
        version, options = kind.split(" ")[0], kind.split(" ")[-1].split(",")
        if version not in path_of or (version == "cgroup" and "memory" not in options):
            continue
        root, point = place.split(" ")[3:5]
        # A container may see its own group as the root of what is mounted, under whatever name it has outside.
        known = path_of[version].is_relative_to(root)
        inner = path_of[version].relative_to(root) if known else PurePosixPath()
        for part in (inner, *inner.parents):
            yield version, Path(point) / part


def _left_in(group: Path, version: str) -> int | None:
    """What one control group leaves; None where it sets no limit or is none."""
    limit_file, used_file, cached = FILES[version]
    try:
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in (limit_file, used_file))
    except (OSError, ValueError):  # the outermost group has no such files; version 2 says "max"
        return None
    if limit >= UNLIMITED:
        return None
    return max(0, limit - max(0, used - _given_back(group, cached)))


def _given_back(group: Path, name: str) -> int:
    try:
        lines = [line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines()]
        return next(int(line[1]) for line in lines if line[0] == name)
    except (OSError, StopIteration, ValueError, IndexError):
        return 0

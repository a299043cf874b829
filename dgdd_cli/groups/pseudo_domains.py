"""Groups that serve as domains where the true ones are not known."""

from __future__ import annotations

from pathlib import Path

from dgdd_cli.data.arranged import under_domains
from dgdd_cli.data.images import Images
from dgdd_cli.errors import UsageError
from dgdd_cli.groups.file import check_groups_match, read_groups


def with_pseudo_domains(source: Images, path: str) -> Images:
    """`source` with the groups of a groups file in the place of its domains, named `group 1` to `group G`.

    Raises DataError when the file is not valid or was made for other images, UsageError when its groups lie within
    classes: a domain spans them.
    """
    file = read_groups(Path(path).expanduser())
    check_groups_match(file, source)
    if file.group_classes is not None:
        raise UsageError(
            f"{path} has groups within classes, and a domain spans all classes",
            hint=f"dgdd cluster {source.name} --per all makes groups that can serve as domains",
        )
    names = tuple(f"group {number + 1}" for number in range(file.manifest.groups))
    return under_domains(source, file.groups, names)

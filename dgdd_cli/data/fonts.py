"""The fonts that matplotlib ships."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def font_folder() -> Path:
    """The folder of matplotlib's TrueType fonts, found without importing it where that can be.

    The import takes its time, and complains on stderr where there is no home folder to write to.
    """
    spec = find_spec("matplotlib")
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place) / "mpl-data" / "fonts" / "ttf"
        if folder.is_dir():
            return folder
    import matplotlib  # some distributions keep the data apart from the code

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"

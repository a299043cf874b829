"""The fonts of matplotlib are found without what its import does."""

from __future__ import annotations

import os
import subprocess
import sys

from dgdd_cli.data.digits import FONTS
from dgdd_cli.data.fonts import font_folder


def test_every_font_of_the_digits_is_there() -> None:
    assert [name for name in (*FONTS, "DejaVuSans") if not (font_folder() / f"{name}.ttf").is_file()] == []


def test_a_home_that_cannot_be_written_is_not_complained_about() -> None:
    """matplotlib's import says two lines about its configuration folder; drawing needs its fonts alone."""
    code = (
        "import sys; from dgdd_cli.data.digits import draw_digits; draw_digits(['typeset'], 8); "
        "from dgdd_cli.report.lettering import font_of; font_of(12); print('matplotlib' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "XDG_"))} | {"HOME": "/dev/null"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")

"""`digits` is pinned: `scan`, `blend` and `outline` to the byte, `typeset` to the eye.

The fonts are rasterised by the FreeType inside Pillow, whose grey levels may move between versions; so the typeset
digits are compared with a small reference picture (one digit of each font), within a tolerance that another glyph,
font, colour or position exceeds by far.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import matplotlib
import numpy as np
import PIL
import pytest
import sklearn
from PIL import Image
from sklearn.datasets import load_digits

from dgdd_cli.data import digits
from dgdd_cli.data.digits import DOMAINS, FONTS, WRITERS, draw_digits
from dgdd_cli.data.load import load_dataset
from dgdd_cli.errors import DataError, UsageError

VERSIONS = f"Pillow {PIL.__version__}, scikit-learn {sklearn.__version__}, matplotlib {matplotlib.__version__}"
CHECKSUMS = {
    "scan": "1d204c233d2ff975",
    "blend": "7a8f3aaf94c02e09",
    "outline": "622e8608d373211b",
}
REFERENCE = Path(__file__).parent / "typeset_reference.png"


@pytest.mark.parametrize("domain", CHECKSUMS)
def test_the_handwritten_domains_are_pinned_to_the_byte(domain: str) -> None:
    images, labels, _ = draw_digits([domain], 16)
    found = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]
    assert found == CHECKSUMS[domain], f"{domain} is drawn differently by {VERSIONS}: published figures do not apply"


def test_the_typeset_domain_looks_like_the_reference() -> None:
    images, labels, _ = draw_digits(["typeset"], 8)
    rows = [images[labels == digit][: len(FONTS)] for digit in range(10)]
    mosaic = np.concatenate([np.concatenate(row.transpose(0, 2, 3, 1), axis=1) for row in rows])  # (80, 8 fonts, 3)
    reference = np.asarray(Image.open(REFERENCE).convert("RGB")).astype(float)
    assert mosaic.shape == reference.shape
    off = np.abs(mosaic - reference)
    assert off.mean() < 2, f"typeset is drawn differently by {VERSIONS}: published figures do not apply"
    tiles = off.reshape(10, 8, len(FONTS), 8, 3).mean((1, 3, 4))
    assert tiles.max() < 10, f"another glyph, font or position with {VERSIONS}"


def test_the_reference_tells_glyphs_apart() -> None:
    tiles = np.asarray(Image.open(REFERENCE).convert("L")).astype(float).reshape(10, 8, len(FONTS), 8)
    assert np.abs(tiles[3] - tiles[8]).mean((0, 2)).min() > 10


def test_four_domains_of_about_600_images_in_ten_classes() -> None:
    dataset = load_dataset("digits", image_size=32)
    assert dataset.domain_names == DOMAINS
    assert dataset.images.shape[1:] == (3, 32, 32)
    counts = dataset.counts()
    assert counts.min() >= 49
    assert counts.max() <= 66
    assert 500 <= counts.sum(0).min() <= counts.sum(0).max() <= 650
    assert dataset.normalisation is not None
    assert dataset.normalisation.mean == (0.5, 0.5, 0.5)


def test_the_same_images_every_time_and_in_every_selection() -> None:
    whole = load_dataset("digits", image_size=16)
    again = load_dataset("digits", image_size=16, domains=["typeset", "blend"])
    assert whole.only(["typeset", "blend"]).fingerprint() == again.fingerprint()
    assert again.domain_names == ("typeset", "blend")


@pytest.mark.parametrize("size", [8, 16, 33, 128])
def test_any_size_shows_the_same_pictures(size: int) -> None:
    images, _, index = draw_digits(DOMAINS, size)
    small, _, _ = draw_digits(DOMAINS, 8)
    assert images.shape == (len(index), 3, size, size)
    some, same = images[::20], small[::20]
    assert np.abs(some.mean((2, 3)) - same.mean((2, 3))).mean() < 3
    assert some.std((1, 2, 3)).min() > 5  # no picture is blank


@pytest.mark.parametrize("size", [7, 129])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match="8 to 128 pixels"):
        draw_digits(DOMAINS, size)


def test_no_writer_is_in_two_domains() -> None:
    target = load_digits().target
    rows = [set(range(len(target))[cut]) for cut in WRITERS.values()]
    assert set.union(*rows) == set(range(len(target)))
    assert sum(map(len, rows)) == len(target)
    for cut in WRITERS.values():  # each writer starts by copying 0..9 in order
        assert target[cut][:20].tolist() == [*range(10), *range(10)]


def test_no_sample_is_drawn_twice() -> None:
    samples = load_digits().images.reshape(1797, -1)
    assert len(np.unique(samples, axis=0)) == 1797


@pytest.mark.parametrize("name", FONTS)
def test_every_font_has_ten_different_digits(name: str) -> None:
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    font = ImageFont.truetype(path, 40, layout_engine=ImageFont.Layout.BASIC)
    assert len({bytes(font.getmask(digit)) for digit in "0123456789"}) == 10


def test_missing_fonts_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(digits, "font_folder", lambda: tmp_path)
    with pytest.raises(DataError, match="DejaVuSans, ") as caught:
        draw_digits(["typeset"], 16)
    assert "matplotlib" in str(caught.value.hint)

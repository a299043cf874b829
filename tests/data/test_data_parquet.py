"""Parquet files of other writers: views, decimals, paths, and more bytes than one array of Arrow holds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from data_pictures import picture
from pyarrow import parquet

from dgdd_cli.data import parquet as module
from dgdd_cli.data.catalog import CATALOG
from dgdd_cli.data.load import load_dataset
from dgdd_cli.data.parquet import read_parquet
from dgdd_cli.errors import DataError

PACS = CATALOG["pacs"]
DOMAINS = ["photo", "sketch", "photo", "cartoon", "art_painting", "photo"]


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, *, row_group: int | None = None, **columns: Any) -> Path:
    """Six rows, whose pictures have the row's number as seed, with some columns replaced."""
    images = pyarrow.array([{"bytes": png(row), "path": f"{row}.png"} for row in range(6)])
    table = pyarrow.table({"image": images, "domain": DOMAINS, "label": list(range(6))} | columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=row_group)
    return path


def photos(path: Path) -> list[tuple[int, bytes]]:
    return [(sample.label, sample.content()) for sample in read_parquet([path], PACS, "photo")]


EXPECTED = [(0, png(0)), (2, png(2)), (5, png(5))]


def test_views_as_polars_writes_them(tmp_path: Path) -> None:
    fields = [pyarrow.array([png(row) for row in range(6)], pyarrow.binary_view())]
    fields.append(pyarrow.array([f"{row}.png" for row in range(6)], pyarrow.string_view()))
    struct = pyarrow.StructArray.from_arrays(fields, ["bytes", "path"])
    domain = pyarrow.array(DOMAINS, pyarrow.string_view())
    for image in (struct, fields[0]):
        assert photos(write(tmp_path / "1.parquet", image=image, domain=domain)) == EXPECTED


@pytest.mark.parametrize("row_group", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_rows_are_found_in_any_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_group: int, batch: int
) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    assert photos(write(tmp_path / "1.parquet", row_group=row_group)) == EXPECTED


def test_no_array_holds_all_images_of_a_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of bytes end at 2 GiB: with rows that fit an array one by one only, all are read."""
    monkeypatch.setattr(module, "BATCH", 1)
    batches = []
    real = parquet.ParquetFile.iter_batches

    def watched(self: Any, *given: Any, **options: Any) -> Any:
        for batch in real(self, *given, **options):
            batches.append(len(batch))
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", watched)
    monkeypatch.setattr(parquet, "read_table", _without_images(parquet.read_table))
    assert photos(write(tmp_path / "1.parquet")) == EXPECTED
    assert batches == [1] * 6


def _without_images(read_table: Any) -> Any:
    def read(*given: Any, columns: list[str], **options: Any) -> Any:
        assert "image" not in columns
        return read_table(*given, columns=columns, **options)

    return read


def test_images_are_read_when_they_are_asked_for_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = module._images
    monkeypatch.setattr(module, "_images", lambda *given: calls.append(given) or real(*given))
    samples = read_parquet([write(tmp_path / "1.parquet")], PACS, "photo")
    assert calls == []
    assert [sample.content() for sample in samples] == [content for _, content in EXPECTED]
    assert len(calls) == 1


def test_decimals_that_are_whole_are_class_numbers(tmp_path: Path) -> None:
    assert photos(write(tmp_path / "1.parquet", label=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])) == EXPECTED


@pytest.mark.parametrize("label", [0.5, float("nan")])
def test_other_decimals_are_called_decimals(tmp_path: Path, label: float) -> None:
    path = write(tmp_path / "1.parquet", label=[label] * 6)
    with pytest.raises(DataError, match=r"the column 'label' holds decimals"):
        photos(path)


@pytest.mark.parametrize("kind", ["struct", "strings"])
def test_a_file_of_paths_is_told_from_corrupt_images(tmp_path: Path, kind: str) -> None:
    names = [f"images/{row}.png" for row in range(6)]
    structs = pyarrow.array(
        [{"bytes": None, "path": name} for name in names],
        pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    )
    write(tmp_path / "PACS" / "1.parquet", image=structs if kind == "struct" else names)
    with pytest.raises(DataError, match="holds the paths of images and not the images"):
        load_dataset("pacs", data_dir=tmp_path, image_size=8, skip_corrupt=True)

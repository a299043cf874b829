from __future__ import annotations

import builtins
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from data_pictures import PACS_CLASSES, PACS_DOMAINS, draw_pacs, picture
from pyarrow import parquet

from dgdd_cli.data import hub
from dgdd_cli.data.catalog import CATALOG
from dgdd_cli.data.load import load_dataset, locate, read
from dgdd_cli.data.parquet import read_parquet
from dgdd_cli.errors import DataError
from dgdd_cli.storage.cache import Cache

PACS = CATALOG["pacs"]
CELLS = [(domain, label) for domain in PACS_DOMAINS for label in range(7)]


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(
    path: Path,
    cells: Sequence[tuple[Any, Any]] = CELLS,
    *,
    names: Sequence[str] | None = PACS_CLASSES,
    drop: str | None = None,
) -> Path:
    """A parquet file as the `datasets` library writes one; the picture of each row has the row's number as seed."""
    columns = {
        "image": [{"bytes": png(row), "path": f"pic_{row}.png"} for row in range(len(cells))],
        "domain": [domain for domain, _ in cells],
        "label": [label for _, label in cells],
    }
    if drop is not None:
        del columns[drop]
    table = pyarrow.table(columns)
    if names is not None:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}, "domain": {"dtype": "string"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
    return path


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A hub that answers with a small parquet; collects what it was asked."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked: list[dict[str, Any]] = []

    def download(repo: str, **options: Any) -> str:
        asked.append({"repo": repo, **options})
        write_parquet(tmp_path / "snapshot" / "data" / "train-00000-of-00001.parquet")
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def test_pacs_comes_from_the_hub_when_no_folder_has_it(online: list[dict[str, Any]], tmp_path: Path) -> None:
    located = locate("pacs")
    assert (located.root, located.domain_names, located.class_names) == (None, PACS_DOMAINS, PACS_CLASSES)
    dataset = read(located, image_size=8, hub_cache=tmp_path / "hub")
    assert dataset.counts().tolist() == [[1] * 4] * 7
    assert dataset.normalisation is not None
    assert online == [
        {
            "repo": "flwrlabs/pacs",
            "repo_type": "dataset",
            "allow_patterns": ["data/*.parquet"],
            "cache_dir": tmp_path / "hub",
            "local_files_only": False,
        }
    ]


def test_a_folder_is_preferred_to_the_hub(online: list[dict[str, Any]], tmp_path: Path) -> None:
    draw_pacs(tmp_path / "data")
    load_dataset("pacs", data_dir=tmp_path / "data", image_size=8)
    assert online == []


def test_a_hub_copy_goes_through_the_same_cache(online: list[dict[str, Any]], tmp_path: Path) -> None:
    stages: list[str] = []
    options: dict[str, Any] = {"image_size": 8, "domains": ["photo"], "cache": Cache(tmp_path / "cache")}
    first = load_dataset("pacs", **options)
    second = load_dataset("pacs", progress=lambda stage, done, total, figures=None: stages.append(stage), **options)
    assert torch.equal(first.images, second.images)
    assert "checking photo" in stages
    assert "decoding photo" not in stages


def test_parquet_files_in_the_data_folder_are_read(tmp_path: Path) -> None:
    for inside in ("", "data"):
        root = tmp_path / f"case{inside}" / "PACS"
        write_parquet(root / inside / "train.parquet")
        dataset = load_dataset("pacs", data_dir=root.parent, image_size=8, domains=["sketch", "photo"])
        assert dataset.domain_names == ("sketch", "photo")
        assert dataset.labels.tolist() == [*range(7), *range(7)]


def test_rows_keep_their_image_and_label(tmp_path: Path) -> None:
    half = len(CELLS) // 2
    paths = [write_parquet(tmp_path / "1.parquet", CELLS[:half]), write_parquet(tmp_path / "2.parquet", CELLS[half:])]
    samples = read_parquet(paths, PACS, "sketch")
    assert [sample.label for sample in samples] == list(range(7))
    assert [sample.content() for sample in samples] == [png(7 + i) for i in range(7)]
    assert len({sample.name for sample in samples}) == 7


def test_class_names_in_the_file_win_over_the_order(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "1.parquet", names=[name.upper() for name in reversed(PACS_CLASSES)])
    assert [sample.label for sample in read_parquet([path], PACS, "photo")] == list(range(6, -1, -1))


def test_without_metadata_the_catalogs_order_counts_and_text_labels_their_names(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "1.parquet", names=None)
    assert [sample.label for sample in read_parquet([path], PACS, "photo")] == list(range(7))
    cells = [("Art Painting", "Horse"), ("photo", "dog")]
    path = write_parquet(tmp_path / "2.parquet", cells, names=None)
    assert [sample.label for sample in read_parquet([path], PACS, "art_painting")] == [4]


def test_a_copy_without_a_domain_column_is_refused_in_words(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "1.parquet", drop="domain")
    with pytest.raises(DataError, match="no column 'domain'") as caught:
        read_parquet([path], PACS, "photo")
    assert "flwrlabs/pacs" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([("photo", 7)], "the label 7 is no class"),
        ([("photo", -1)], "the label -1 is no class"),
        ([("photo", None)], "the label None is no class"),
        ([("photo", "zebra")], "the label 'zebra' is no class"),
        ([("watercolour", 0)], "'watercolour' is no domain of pacs"),
        ([(3, 0)], "the domain 3 has no name"),
        ([("sketch", 0)], "no image of the domain 'photo': it is a partial copy"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, cells: list[tuple[Any, Any]], message: str) -> None:
    path = write_parquet(tmp_path / "1.parquet", cells, names=None)
    with pytest.raises(DataError, match=message):
        read_parquet([path], PACS, "photo")


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 3}', b'{"info": {"features": {"label": {"names": 5}}}}'])
def test_odd_metadata_falls_back_to_the_catalog(tmp_path: Path, metadata: bytes) -> None:
    path = write_parquet(tmp_path / "1.parquet")
    table = parquet.read_table(path).replace_schema_metadata({b"huggingface": metadata})
    parquet.write_table(table, path)
    assert len(read_parquet([path], PACS, "photo")) == 7


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"cannot read .*1\.parquet"):
        read_parquet([path], PACS, "photo")


def test_a_row_without_bytes_counts_as_corrupt(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "PACS" / "1.parquet")
    table = parquet.read_table(path)
    images = table["image"].to_pylist()
    images[0]["bytes"] = None
    parquet.write_table(table.set_column(0, "image", pyarrow.array(images)), path)
    with pytest.raises(DataError, match="the row holds no image bytes"):
        load_dataset("pacs", data_dir=tmp_path, image_size=8)
    assert load_dataset("pacs", data_dir=tmp_path, image_size=8, skip_corrupt=True).skipped == 1


def test_without_the_extra_the_hint_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in ("huggingface_hub", "pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match="needs the extra 'hub'") as caught:
        load_dataset("pacs", data_dir=tmp_path, image_size=8)
    assert str(tmp_path) in caught.value.message
    assert "pip install 'dgdd[hub]'" in str(caught.value.hint)
    assert "--data DIR" in str(caught.value.hint)
    (tmp_path / "1.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="needs pyarrow"):
        read_parquet([tmp_path / "1.parquet"], PACS, "photo")


def test_offline_never_asks_the_network(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(DataError, match=r"not in its cache and --offline was given") as caught:
        load_dataset("pacs", image_size=8, hub_cache=tmp_path / "hub", offline=True)
    assert "--data DIR" in str(caught.value.hint)


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def download(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(DataError, match="no route to host") as caught:
        load_dataset("pacs", image_size=8)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 3


def test_a_repository_without_parquet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(DataError, match=r"holds no data/\*\.parquet"):
        hub.fetch(PACS)

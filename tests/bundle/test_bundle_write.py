"""Bundles are deterministic, atomic, honour the umask, and are held to the reader's rules when written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import torch
from toy_bundles import SHA, facts_with, tensors_with, unpack

from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.bundle.write import write_bundle
from dgdd_cli.errors import DataError, DgddError, UsageError
from dgdd_cli.storage.atomic import check_output, write_atomically
from dgdd_cli.storage.container import tensor_sha256
from dgdd_cli.text import canonical_json

GOLDEN_SHA256 = "8b59cdf2728523fd2ed155ad39afdaff504338330b6dfb7460c6c295585906da"


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    tensors = tensors_with(
        soft_labels=torch.tensor([[0.25, 0.75]] * 4, dtype=torch.float32), groups=torch.tensor([0, -1, 5, 2])
    )
    written = write_bundle(tmp_path / "b.safetensors", tensors, facts_with())
    bundle = load_bundle(tmp_path / "b.safetensors")
    assert bundle.manifest == written
    assert bundle.soft_labels is not None
    assert bundle.groups is not None
    for name in tensors:
        read = getattr(bundle, name)
        assert read.dtype == tensors[name].dtype
        assert torch.equal(read, tensors[name]), name
    assert (written.images.count, written.images.ipc, written.images.height, written.images.width) == (4, 2, 8, 8)


def test_optional_tensors_are_none_when_absent(bundle_path: Path) -> None:
    bundle = load_bundle(str(bundle_path))
    assert bundle.soft_labels is None
    assert bundle.groups is None
    assert len(bundle) == 4


def test_the_bytes_are_pinned(bundle_path: Path) -> None:
    data = bundle_path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == GOLDEN_SHA256
    header, buffer = unpack(data)
    assert header["labels"] == {"dtype": "I64", "shape": [4], "data_offsets": [32, 64]}
    assert header["images"] == {"dtype": "U8", "shape": [4, 3, 8, 8], "data_offsets": [64, 832]}
    assert buffer[64:] == bytes(i * 37 % 256 for i in range(768))


def test_another_process_with_another_hash_seed_writes_the_same_bytes(tmp_path: Path, bundle_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from toy_bundles import facts_with, tensors_with\n"
        "from dgdd_cli.bundle.write import write_bundle\n"
        "write_bundle(Path(sys.argv[2]), dict(reversed(tensors_with().items())), facts_with())\n"
    )
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.safetensors"
        environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        arguments = [sys.executable, "-c", script, str(Path(__file__).parent), str(path)]
        subprocess.run(arguments, check=True, env=environment)
        assert path.read_bytes() == bundle_path.read_bytes()


def test_views_and_other_memory_layouts_give_the_same_bytes(tmp_path: Path, bundle_path: Path) -> None:
    tensors = tensors_with()
    strided = {name: torch.stack([tensor, tensor])[1] for name, tensor in tensors.items()}
    strided["images"] = tensors["images"].to(memory_format=torch.channels_last)
    write_bundle(tmp_path / "strided.safetensors", strided, facts_with())
    assert (tmp_path / "strided.safetensors").read_bytes() == bundle_path.read_bytes()


def test_one_tensor_in_two_roles_is_written_twice(tmp_path: Path) -> None:
    shared = torch.tensor([0, 0, 1, 1])
    write_bundle(tmp_path / "b.safetensors", tensors_with(labels=shared, groups=shared), facts_with())
    bundle = load_bundle(tmp_path / "b.safetensors")
    assert bundle.groups is not None
    assert torch.equal(bundle.groups, bundle.labels)


def test_the_documented_way_without_dgdd_works(bundle_path: Path) -> None:
    with safetensors.safe_open(bundle_path, "pt") as file:
        manifest = json.loads(file.metadata()["dgdd"])
        assert list(file.metadata()) == ["dgdd"]
        assert file.get_tensor("images").shape == (4, 3, 8, 8)
    assert manifest["schema"] == "dgdd/1"
    assert manifest["classes"] == ["cat", "dog"]


def test_the_manifest_is_canonical_json_and_its_id_covers_it(bundle_path: Path) -> None:
    text = unpack(bundle_path.read_bytes())[0]["__metadata__"]["dgdd"]
    document = json.loads(text)
    assert text == json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    identifier = document.pop("id")
    assert identifier == hashlib.sha256(canonical_json(document).encode()).hexdigest()[:16]


def test_the_id_depends_on_pixels_and_on_settings(tmp_path: Path) -> None:
    ids = set()
    changed = tensors_with()["images"].clone()
    changed[3, 2, 7, 7] += 1
    for number, (tensors, facts) in enumerate(
        [
            (tensors_with(), facts_with()),
            (tensors_with(images=changed), facts_with()),
            (tensors_with(), facts_with(seed=8)),
        ]
    ):
        ids.add(write_bundle(tmp_path / f"{number}.safetensors", tensors, facts).id)
    assert len(ids) == 3


def test_tensor_hash_is_that_of_the_little_endian_bytes() -> None:
    tensor = torch.tensor([[1, -2], [3, 4]])
    raw = b"".join(v.to_bytes(8, "little", signed=True) for v in (1, -2, 3, 4))
    assert tensor_sha256(tensor) == hashlib.sha256(raw).hexdigest()
    assert tensor_sha256(tensor.t()) != tensor_sha256(tensor)
    assert tensor_sha256(torch.empty(0)) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_is_honoured(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_bundle(tmp_path / "b.safetensors", tensors_with(), facts_with())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "b.safetensors").stat().st_mode) == mode


def test_an_existing_file_survives_without_overwrite(bundle_path: Path) -> None:
    before = bundle_path.read_bytes()
    with pytest.raises(UsageError, match="exists already") as caught:
        write_bundle(bundle_path, tensors_with(), facts_with(seed=1))
    assert "--force" in (caught.value.hint or "")
    assert bundle_path.read_bytes() == before
    write_bundle(bundle_path, tensors_with(), facts_with(seed=1), overwrite=True)
    assert load_bundle(bundle_path).manifest.seed == 1


def test_a_file_that_appears_meanwhile_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "raced"
    real = os.fsync

    def slow_sync(descriptor: int) -> None:
        path.write_bytes(b"the other's")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow_sync)
    with pytest.raises(UsageError, match="exists already"):
        write_atomically(path, b"mine", overwrite=False)
    assert path.read_bytes() == b"the other's"
    assert os.listdir(tmp_path) == ["raced"]


def test_a_file_system_without_links_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_atomically(tmp_path / "a", b"new", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("moment", ["fsync", "replace", "link"])
def test_a_full_disk_is_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, overwrite: bool
) -> None:
    if moment == ("link" if overwrite else "replace"):
        pytest.skip("this call is not made")
    path = tmp_path / "b.safetensors"
    if overwrite:
        path.write_bytes(b"old")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, moment, full)
    with pytest.raises(DgddError, match="No space left on device") as caught:
        write_bundle(path, tensors_with(), facts_with(), overwrite=overwrite)
    assert caught.value.exit_code == 1
    assert caught.value.hint
    assert os.listdir(tmp_path) == (["b.safetensors"] if overwrite else [])
    assert not overwrite or path.read_bytes() == b"old"


def test_an_interruption_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"x", overwrite=True)
    assert os.listdir(tmp_path) == []


def test_left_over_temporary_files_do_not_stand_in_the_way(tmp_path: Path) -> None:
    stale = tmp_path / f".dgdd-{os.getpid()}-0.tmp"
    stale.write_bytes(b"of a killed run")
    write_atomically(tmp_path / ("n" * 255), b"x", overwrite=False)
    assert (tmp_path / ("n" * 255)).read_bytes() == b"x"
    assert stale.read_bytes() == b"of a killed run"


def test_places_that_cannot_be_written_are_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path, overwrite=True)
    with pytest.raises(UsageError, match="does not exist") as caught:
        check_output(tmp_path / "no" / "b.safetensors", overwrite=True)
    assert (caught.value.hint or "").startswith("mkdir -p ")
    with pytest.raises(UsageError, match="does not exist"):
        check_output(tmp_path / "file" / "b.safetensors", overwrite=True)
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(DgddError, match="read-only"):
        check_output(tmp_path / "b.safetensors", overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(DgddError, match="read-only"):
        write_bundle(tmp_path / "b.safetensors", tensors_with(), facts_with())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": torch.zeros(4, 3, 8, 8)}, "must be uint8"),
        ({"images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}, "shape"),
        ({"labels": torch.tensor([0, 0, 1, 2])}, "outside 0 to 1"),
        ({"labels": torch.tensor([0, 1, 1, 1])}, "not every class has 2"),
        ({"labels": torch.tensor([0, 0, 1, 1], dtype=torch.int32)}, "must be int64"),
        ({"domains": torch.tensor([0, 0, 0, 2])}, "outside -1 to 1"),
        ({"domains": torch.tensor([0, 0, 0, -2])}, "holds -2"),
        ({"soft_labels": torch.full((4, 2), float("nan"))}, "NaN"),
        ({"soft_labels": torch.zeros(4, 3)}, "shape"),
        ({"groups": torch.tensor([0, 0, 0])}, "shape"),
        ({"weights": torch.zeros(4)}, "unexpected tensor 'weights'"),
        ({"images": torch.zeros(0, 3, 8, 8, dtype=torch.uint8)}, "count"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, changes: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(DataError, match=words):
        write_bundle(tmp_path / "b.safetensors", tensors_with(**changes), facts_with())
    assert os.listdir(tmp_path) == []


def test_a_set_as_large_as_domainnet_keeps_its_header_small(tmp_path: Path) -> None:
    classes = [f"some_class_name_{i}" for i in range(345)]
    domains = ["clipart", "infograph", "painting", "quickdraw", "real"]
    counts = {domain: dict.fromkeys(classes, 100) for domain in domains}
    source = facts_with().source.document() | {"counts": counts, "domain_fingerprints": dict.fromkeys(domains, SHA)}
    tensors = {
        "images": torch.zeros(345, 3, 1, 1, dtype=torch.uint8),
        "labels": torch.arange(345),
        "domains": torch.zeros(345, dtype=torch.int64),
    }
    facts = facts_with(classes=classes, domains=domains, target="sketch", source=source)
    manifest = write_bundle(tmp_path / "b.safetensors", tensors, facts)
    assert manifest.source.counts == counts
    assert int.from_bytes((tmp_path / "b.safetensors").read_bytes()[:8], "little") < 64_000


def test_counts_that_would_swell_the_header_are_left_out(tmp_path: Path) -> None:
    classes = [f"class number {i}" for i in range(1500)]
    source = facts_with().source.document() | {"counts": {d: dict.fromkeys(classes, 9) for d in ("photo", "sketch")}}
    tensors = {
        "images": torch.zeros(1500, 3, 1, 1, dtype=torch.uint8),
        "labels": torch.arange(1500),
        "domains": torch.zeros(1500, dtype=torch.int64),
    }
    manifest = write_bundle(tmp_path / "b.safetensors", tensors, facts_with(classes=classes, source=source))
    assert manifest.source.counts == {}
    assert load_bundle(tmp_path / "b.safetensors").manifest == manifest
    assert int.from_bytes((tmp_path / "b.safetensors").read_bytes()[:8], "little") < 64_000

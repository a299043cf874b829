"""A file of another kind is called by its kind, and the hint leads on instead of asking for another copy."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from dgdd_cli.bundle.export import export_folder
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.errors import DataError
from dgdd_cli.groups.file import read_groups
from dgdd_cli.storage.container import kind_of, read_container

PAGE = b"\r\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head>" + b" " * 3000
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    data = io.BytesIO()
    save(data)
    return data.getvalue()


def packed(data: bytes) -> dict[str, bytes]:
    def zipped(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("set/bundle.safetensors", data)

    def tarred(file: io.BytesIO) -> None:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("empty"))

    return {
        "gzip": gzip.compress(data, mtime=0),
        "bzip2": bz2.compress(data),
        "xz": lzma.compress(data),
        "zip": saved(zipped),
        "tar": saved(tarred),
    }


TENSORS = {"images": torch.rand(2, 3, 4, 4), "labels": torch.tensor([0, 1])}
OTHERS = {
    "torch.save": saved(lambda file: torch.save(TENSORS, file)),
    "torch.save of old": saved(lambda file: torch.save(TENSORS, file, _use_new_zipfile_serialization=False)),
    **{f"pickle {n}": pickle.dumps({"images": [1, 2, 3]}, protocol=n) for n in range(2, 6)},
    "npy": saved(lambda file: np.save(file, np.zeros(4))),
    "npz": saved(lambda file: np.savez(file, images=np.zeros(4))),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "safetensors": safetensors.numpy.save({"conv.weight": np.zeros(4)}, metadata={"format": "pt"}),
}


def refusal(path: Path, data: bytes, read: Callable[[Path], object] = load_bundle) -> tuple[str, str]:
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in caught.value.message
    assert "copy it again" not in (caught.value.hint or "")
    return caught.value.message, caught.value.hint or ""


@pytest.mark.parametrize("kind", OTHERS)
def test_sets_of_other_tools_are_not_damaged(tmp_path: Path, kind: str) -> None:
    message, hint = refusal(tmp_path / "res_DM.pt", OTHERS[kind])
    assert "other tools is not supported yet" in hint
    assert ("pickle" in message) == ("torch" in kind or "pickle" in kind)
    assert refusal(tmp_path / "res_DM.pt", OTHERS[kind], read_groups)[1].startswith("only groups of dgdd cluster")
    assert refusal(tmp_path / "x", OTHERS[kind], lambda p: read_container(p, kind="checkpoint"))[1].endswith("--force")
    assert refusal(tmp_path / "res_DM.pt", OTHERS[kind], kind_of) == (message, hint)


def test_another_programs_safetensors_are_named_by_what_they_hold(tmp_path: Path) -> None:
    data = safetensors.numpy.save({f"conv{i}.weight": np.zeros(1) for i in range(9)})
    message, _ = refusal(tmp_path / "model.safetensors", data)
    assert "'conv0.weight'" in message
    assert message.count("weight") == 3


@pytest.mark.parametrize("folder", ["plain", "with a space"])
def test_a_pointer_is_fetched_where_it_lies(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    message, hint = refusal(tmp_path / folder / "b.safetensors", POINTER)
    assert "Git LFS pointer" in message
    quoted = f"'{tmp_path / folder}'" if " " in folder else str(tmp_path / folder)
    assert hint == f"git -C {quoted} lfs pull"
    annex = b"/annex/objects/SHA256E-s1--00.safetensors\n"
    assert "git annex get" in refusal(tmp_path / folder / "b.safetensors", annex)[1]


@pytest.mark.parametrize("page", [PAGE, b"\xef\xbb\xbf<html>", b'<?xml version="1.0"?><Error>AccessDenied</Error>'])
def test_a_web_page_is_called_one(tmp_path: Path, page: bytes) -> None:
    message, hint = refusal(tmp_path / "b.safetensors", page)
    assert "web page" in message
    assert f"head -c 400 {tmp_path / 'b.safetensors'}" in hint


@pytest.mark.parametrize(
    ("kind", "command"),
    [("gzip", "gunzip -c"), ("bzip2", "bunzip2 -c"), ("xz", "xz -dc"), ("zip", "unzip"), ("tar", "tar -xf")],
)
def test_archives_are_to_be_unpacked(bundle_path: Path, tmp_path: Path, kind: str, command: str) -> None:
    message, hint = refusal(tmp_path / "b.packed", packed(bundle_path.read_bytes())[kind])
    assert kind in message
    assert f"unpack it first: {command} {tmp_path / 'b.packed'}" in hint


def test_pictures_and_text_are_called_so(tmp_path: Path) -> None:
    for form in ("PNG", "JPEG", "GIF"):
        data = saved(lambda file, form=form: Image.new("RGB", (9, 9)).save(file, form))
        assert f"picture ({form})" in refusal(tmp_path / "grid.png", data)[0]
    for text in ('{"a": 1, "b": {"c": 2}}', '{"a": 12{', "method = 'dm'\n", "é" * 1000, "x" + "é" * 1000):
        assert "it is text" in refusal(tmp_path / "config.toml", text.encode())[0]


def test_an_exported_folder_points_to_the_bundle_beside_it(bundle_path: Path, tmp_path: Path) -> None:
    folder = export_folder(load_bundle(bundle_path), tmp_path / "images")
    with pytest.raises(DataError, match="a folder of exported images, not a bundle") as caught:
        load_bundle(folder)
    assert caught.value.hint == f"try {bundle_path}"
    bundle_path.unlink()
    with pytest.raises(DataError) as caught:
        load_bundle(folder)
    assert "--dataset" in (caught.value.hint or "")


def test_names_in_a_hint_cannot_write_lines_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a\nhint: rm -rf ~\x1b[2J.safetensors").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_bundle(tmp_path)
    assert (caught.value.hint or "").isprintable()


@pytest.mark.parametrize("kept", [1, 4, 8, 9, 100, 900])
def test_a_truncated_bundle_is_not_called_foreign(bundle_path: Path, kept: int) -> None:
    bundle_path.write_bytes(bundle_path.read_bytes()[:kept])
    with pytest.raises(DataError, match="truncated") as caught:
        load_bundle(bundle_path)
    assert "copy it again" in (caught.value.hint or "")

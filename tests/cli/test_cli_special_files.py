"""What is no regular file is never replaced, by no verb and through no link; a link to a file is written through."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle
from dgdd_cli.errors import DgddError, NameTaken
from dgdd_cli.storage.atomic import write_atomically


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


def distil(folder: Path, out: Path, *more: str) -> int:
    budget = ["--method", "random", "--ipc", "1", "--image-size", "8", "--progress", "none"]
    return run(["distill", str(folder), "--target", "cyan", "--out", str(out), *budget, *more])


def cluster(folder: Path, out: Path, *more: str) -> int:
    return run(["cluster", str(folder), "--groups", "2", "--image-size", "8", "--out", str(out), *more])


def picture(folder: Path, out: Path, *more: str) -> int:
    bundle = folder.parent / "made.safetensors"
    assert bundle.exists() or distil(folder, bundle, "-q") == 0
    return run(["inspect", str(bundle), "--gallery", str(out), *more])


def export(folder: Path, out: Path, *more: str) -> int:
    bundle = folder.parent / "made.safetensors"
    assert bundle.exists() or distil(folder, bundle, "-q") == 0
    return run(["inspect", str(bundle), "--export", str(out), *more])


def make(kind: str, path: Path) -> None:
    """A node of its own: nothing here touches those of the machine."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(path))
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")


@pytest.mark.parametrize("verb", [distil, cluster, picture, export])
@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_special_files_are_refused_before_the_work(shapes_folder, tmp_path, monkeypatch, capsys, verb, kind):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    node, link = tmp_path / "node.png", tmp_path / "link.png"
    make(kind, node)
    link.symlink_to(node.name)
    before = node.lstat()
    if verb in (distil, cluster):
        for image in shapes_folder.rglob("pic_000.*"):  # whoever reads the data fails otherwise
            image.write_bytes(b"not an image")
    for out in (node, link):
        for more in ([], ["--force"], *([["--resume"]] if verb is distil else [])):
            assert verb(shapes_folder, out, *more) == 2
            said = capsys.readouterr().err.splitlines()
            assert str(out) in said[-2]
            assert "--force" not in said[-1]
    assert node.lstat() == before
    assert link.is_symlink()


def test_it_is_looked_at_again_when_the_file_is_written(tmp_path):
    node = tmp_path / "node"
    os.mkfifo(node)
    for overwrite in (True, False):
        with pytest.raises(NameTaken, match="is a pipe and is never replaced"):
            write_atomically(node, b"x", overwrite=overwrite)
    assert os.listdir(tmp_path) == ["node"]


def test_a_descriptor_is_no_file_either(tmp_path):
    """As /dev/stdout is: a link to whatever a descriptor is open on."""
    read, write = os.pipe()
    with (tmp_path / "deleted").open("w") as deleted:
        (tmp_path / "deleted").unlink()
        for descriptor in (write, deleted.fileno()):
            link = tmp_path / "link"
            link.symlink_to(f"/proc/self/fd/{descriptor}")
            with pytest.raises(NameTaken, match="never replaced"):
                write_atomically(link, b"x", overwrite=True)
            link.unlink()
    os.close(read)
    os.close(write)


def test_a_link_to_a_file_is_written_through(shapes_folder, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    real, link = tmp_path / "runs" / "1.safetensors", tmp_path / "latest.safetensors"
    link.symlink_to("runs/1.safetensors")
    assert distil(shapes_folder, link) == 0  # it leads nowhere yet
    assert load_bundle(real).manifest.seed == 0
    assert distil(shapes_folder, link, "--seed", "1") == 2
    assert "--force" in capsys.readouterr().err
    assert distil(shapes_folder, link, "--seed", "1", "--force") == 0
    assert load_bundle(real).manifest.seed == 1
    assert os.readlink(link) == "runs/1.safetensors"
    assert os.listdir(tmp_path / "runs") == ["1.safetensors"]


def test_a_link_into_no_folder_and_a_ring_are_refused(tmp_path):
    link, ring = tmp_path / "link", tmp_path / "ring"
    link.symlink_to("no/where")
    ring.symlink_to("ring")
    for path, words in ((link, "does not exist"), (ring, "symbolic links")):
        with pytest.raises(DgddError, match=words):
            write_atomically(path, b"x", overwrite=True)
        assert path.is_symlink()


def test_a_checkpoint_that_is_no_file_is_refused_at_the_start(shapes_folder, tmp_path, capsys):
    node = tmp_path / "b.safetensors.checkpoint"
    os.mkfifo(node)
    for more in ([], ["--force"], ["--resume"]):
        assert distil(shapes_folder, tmp_path / "b.safetensors", *more) == 2
        assert f"{node} is a pipe and is never replaced" in capsys.readouterr().err
    assert node.is_fifo()
    assert not (tmp_path / "b.safetensors").exists()

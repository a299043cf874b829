"""The verb `distill`, run in this process through the same entry as the console script, and as a real process."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dgdd_cli.__main__ import run
from dgdd_cli.bundle.read import load_bundle

QUICK = ["--image-size", "8", "--set", "probes.width=8", "--probes", "bank:2", "--progress", "none"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGDD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGDD_DATA", raising=False)


def distill(folder: Path, out: Path, *more: str) -> int:
    return run(["distill", str(folder), "--target", "cyan", "--ipc", "2", "--out", str(out), *QUICK, *more])


def error_of(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("method", ["dm", "dm-balanced", "mmd", "sgs"])
def test_matching_methods_write_a_bundle_that_moved(shapes_folder, tmp_path, method):
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--method", method, "--steps", "3") == 0
    bundle = load_bundle(out)
    assert bundle.manifest.method.name == method
    assert bundle.manifest.domains == ("amber", "blue")
    assert bundle.manifest.target == "cyan"
    assert bundle.manifest.steps == 3
    assert bundle.labels.tolist() == [0, 0, 1, 1, 2, 2]
    start = tmp_path / "start.safetensors"
    assert distill(shapes_folder, start, "--method", method, "--steps", "0") == 0
    assert not torch.equal(load_bundle(start).images, bundle.images)
    assert torch.equal(load_bundle(start).domains, bundle.domains)


@pytest.mark.parametrize("native", [True, False])
def test_probes_in_bfloat16_change_the_set_and_a_processor_without_it_is_named(
    shapes_folder, tmp_path, monkeypatch, capsys, native
):
    monkeypatch.setattr("dgdd_cli.engine.run.computes_bfloat16", lambda device: native)
    made = []
    for precision in ("float32", "bfloat16"):
        out = tmp_path / f"{precision}.safetensors"
        assert distill(shapes_folder, out, "--method", "dm", "--set", f"probes.precision={precision}") == 0
        assert ("no instructions for bfloat16" in capsys.readouterr().err) == (precision == "bfloat16" and not native)
        made.append(load_bundle(out))
    assert made[1].manifest.method.settings["probes"]["precision"] == "bfloat16"
    apart = (made[0].images.int() - made[1].images.int()).abs()
    assert apart.max() > 0
    assert apart.float().mean() < 8  # of 255 levels: 200 steps, the same views up to rounding


@pytest.mark.parametrize("method", ["random", "balanced-random", "kmeans"])
def test_selection_methods_store_real_images(shapes_folder, tmp_path, method):
    from dgdd_cli.data.load import load_dataset

    out = tmp_path / "b.safetensors"
    arguments = ["--ipc", "2", "--image-size", "8", "--progress", "none", "--method", method, "--out", str(out)]
    assert run(["distill", str(shapes_folder), "--target", "cyan", *arguments]) == 0
    bundle = load_bundle(out)
    source = load_dataset(str(shapes_folder), image_size=8, domains=("amber", "blue"))
    real = {(image.numpy().tobytes(), int(label)) for image, label in zip(source.images, source.labels, strict=True)}
    assert all((i.numpy().tobytes(), int(y)) in real for i, y in zip(bundle.images, bundle.labels, strict=True))
    assert bundle.manifest.steps == 0


def test_the_json_document(shapes_folder, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--steps", "1", "--json", "--seed", "5") == 0
    document = json.loads(capsys.readouterr().out)
    bundle = load_bundle(out)
    peak = document.pop("peak_memory_bytes")
    assert 0 < peak < 2**40
    assert document.pop("device")["type"] == bundle.manifest.device.type
    assert document == {
        "schema": "dgdd.distill/1",
        "bundle": str(out),
        "id": bundle.manifest.id,
        "method": "sgs",
        "dataset": "shapes",
        "sources": ["amber", "blue"],
        "target": "cyan",
        "ipc": 2,
        "images": 6,
        "image_size": 8,
        "steps": 1,
        "seed": 5,
        "skipped_images": 0,
    }


def test_quiet_prints_the_path_alone(shapes_folder, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--steps", "1", "-q") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert captured.err == ""


@pytest.mark.parametrize(("mode", "said"), [("--json", True), ("--quiet", False)])
def test_what_a_run_takes_is_said_on_stderr_alone(shapes_folder, tmp_path, capsys, mode, said):
    assert distill(shapes_folder, tmp_path / "b.safetensors", "--steps", "2", mode) == 0
    captured = capsys.readouterr()
    assert "about" not in captured.out
    found = re.search(r"^about \d+ s and [\d.]+ [GM]iB: 2 steps of .+, a bank of 2 probes in", captured.err, re.M)
    assert bool(found) == said


def test_a_run_that_memory_cannot_hold_is_refused(shapes_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dgdd_cli.runtime.estimate.free_memory_bytes", lambda device: 1000)
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--steps", "2") == 2
    assert error_of(capsys).startswith("error: this run needs about ")
    assert not out.exists()


def test_seeds_and_settings_reach_the_bundle(shapes_folder, tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert distill(shapes_folder, first, "--steps", "2") == 0
    assert distill(shapes_folder, second, "--steps", "2", "--seed", "1", "--set", "surgery.power=2") == 0
    a, b = load_bundle(first).manifest, load_bundle(second).manifest
    assert (a.seed, b.seed) == (0, 1)
    assert (a.method.settings["surgery"]["power"], b.method.settings["surgery"]["power"]) == (1.0, 2.0)
    assert a.id != b.id


def test_print_config_is_a_config(shapes_folder, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--steps", "2", "--print-config") == 0
    assert not out.exists()
    file = tmp_path / "run.toml"
    file.write_text(capsys.readouterr().out)
    assert run(["distill", "--config", str(file), "--out", str(out), "--progress", "none"]) == 0
    again = tmp_path / "c.safetensors"
    assert distill(shapes_folder, again, "--steps", "2") == 0
    assert out.read_bytes() == again.read_bytes()


def test_an_empty_cell_is_warned_about_and_harmless(shapes_folder, tmp_path, capsys):
    for image in (shapes_folder / "blue" / "dot").iterdir():
        image.unlink()
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--steps", "2") == 0
    warning = capsys.readouterr().err
    assert "blue" in warning
    assert "dot" in warning
    bundle = load_bundle(out)
    assert set(bundle.domains[bundle.labels == 2].tolist()) == {0}


@pytest.mark.parametrize(
    ("arguments", "code", "words", "hint"),
    [
        (["digts"], 2, "digts", "digits"),
        (["digits", "--method", "sgz"], 2, "sgz", "sgs"),
        (["digits", "--target", "blond"], 2, "blond", "blend"),
        (["no/such/folder"], 3, "no/such/folder", ""),
        (["digits", "--ipc", "0"], 2, "ipc", ""),
        (["digits", "--ipc", "100000"], 2, "100000", "--ipc"),
        (["digits", "--set", "surgery.porwer=1"], 2, "porwer", "power"),
        (["digits", "--probes", "bank:0"], 2, "probes.source", ""),
        (["digits", "--device", "cuda:7"], 2, "cuda:7", "--device cpu"),
        (["digits", "--method", "random", "--steps", "5"], 2, "steps", "sgs"),
        (["digits", "--method", "dm", "--kernels", "torch"], 2, "--kernels", "sgs"),
        (["digits", "--kernels", "cuda"], 2, "cuda", "torch"),
        (["digits", "--config", "none.toml"], 3, "none.toml", ""),
        (["digits", "--set", "probes.augment=blur"], 2, "blur", "known"),
    ],
)
def test_what_a_user_can_get_wrong(tmp_path, monkeypatch, capsys, arguments, code, words, hint):
    monkeypatch.chdir(tmp_path)
    assert run(["distill", "--image-size", "8", "--progress", "none", *arguments]) == code
    said = error_of(capsys)
    assert said.startswith("error: ")
    assert words in said
    assert hint in said
    assert not (tmp_path / "bundle.safetensors").exists()


def test_a_folder_needs_a_target(shapes_folder, tmp_path, capsys):
    assert run(["distill", str(shapes_folder), "--out", str(tmp_path / "b"), *QUICK]) == 2
    assert "--target" in error_of(capsys)


def test_one_source_is_too_few(shapes_folder, tmp_path, capsys):
    import shutil

    shutil.rmtree(shapes_folder / "blue")
    assert distill(shapes_folder, tmp_path / "b") in (2, 3)
    assert "amber" in error_of(capsys)


def test_a_class_without_a_source_image_is_named(shapes_folder, tmp_path, capsys):
    for domain in ("amber", "blue"):
        for image in (shapes_folder / domain / "dot").iterdir():
            image.unlink()
    assert distill(shapes_folder, tmp_path / "b") == 3
    assert "dot" in error_of(capsys)


def test_a_corrupt_image_is_named_and_can_be_skipped(shapes_folder, tmp_path, capsys):
    victim = shapes_folder / "amber" / "box" / "pic_001.jpg"
    victim.write_bytes(victim.read_bytes()[:200])
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out) == 3
    said = error_of(capsys)
    assert "pic_001.jpg" in said
    assert "--skip-corrupt" in said
    assert distill(shapes_folder, out, "--steps", "1", "--skip-corrupt", "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped_images"] == 1


def test_the_target_is_never_read(shapes_folder, tmp_path):
    for image in (shapes_folder / "cyan").rglob("*.png"):
        image.write_bytes(b"not an image")
    assert distill(shapes_folder, tmp_path / "b", "--steps", "1") == 0


def test_an_existing_output_is_left_alone_without_force(shapes_folder, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    out.write_text("precious")
    assert distill(shapes_folder, out, "--steps", "1") == 2
    assert "--force" in error_of(capsys)
    assert out.read_text() == "precious"
    assert distill(shapes_folder, out, "--steps", "1", "--force") == 0
    assert load_bundle(out).manifest.steps == 1


def test_a_missing_output_folder(shapes_folder, tmp_path, capsys):
    assert distill(shapes_folder, tmp_path / "no" / "b") == 2
    assert "mkdir" in error_of(capsys)


def test_the_first_line_of_the_readme_on_a_tiny_pacs(tiny_pacs, tmp_path, monkeypatch, capsys):
    """`dgdd distill pacs --ipc 10 --method sgs` and `dgdd evaluate bundle.safetensors --target sketch`, as written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DGDD_DATA", str(tiny_pacs))
    monkeypatch.setenv("DGDD_IMAGE_SIZE", "8")
    monkeypatch.setenv("DGDD_STEPS", "2")
    monkeypatch.setenv("DGDD_PROBES", "bank:1")
    monkeypatch.setenv("DGDD_EPOCHS", "1")
    monkeypatch.setenv("DGDD_REPEATS", "1")
    assert run(["distill", "pacs", "--ipc", "10", "--method", "sgs"]) == 0
    assert run(["evaluate", "bundle.safetensors", "--target", "sketch"]) == 0
    said = capsys.readouterr().out
    assert "sketch" in said
    assert "unseen domain" in said


def process(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dgdd_cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def long_run(folder: Path, out: Path, *more: str) -> list[str]:
    budget = ["--steps", "400", "--ipc", "2", "--checkpoint-every", "0"]
    return ["distill", str(folder), "--target", "cyan", "--out", str(out), *QUICK, *budget, *more]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_same_command_twice_same_bytes_in_two_processes(shapes_folder, tmp_path):
    outs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for out, hash_seed in zip(outs, "12", strict=True):
        running = process(
            "distill",
            str(shapes_folder),
            "--target",
            "cyan",
            "--ipc",
            "2",
            "--out",
            str(out),
            "--steps",
            "5",
            *QUICK,
            PYTHONHASHSEED=hash_seed,
        )
        _, said = running.communicate(timeout=300)
        assert running.returncode == 0, said
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_a_killed_run_resumes_to_the_identical_bundle(shapes_folder, tmp_path, capsys):
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    running = process(*long_run(shapes_folder, killed))
    wait_for(tmp_path / "killed.safetensors.checkpoint", running)
    time.sleep(0.15)  # some arbitrary moment later
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not killed.exists()

    assert run(long_run(shapes_folder, killed)) == 2
    assert "--resume" in error_of(capsys)
    assert run(long_run(shapes_folder, killed, "--resume")) == 0
    assert "resuming from step" in capsys.readouterr().err
    assert run(long_run(shapes_folder, whole)) == 0
    assert killed.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "killed.safetensors.checkpoint").exists()


def test_ctrl_c_keeps_a_checkpoint_that_other_settings_cannot_use(shapes_folder, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    running = process(*long_run(shapes_folder, out))
    wait_for(tmp_path / "b.safetensors.checkpoint", running)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert not out.exists()
    assert run(long_run(shapes_folder, out, "--resume", "--seed", "9")) == 2
    assert "belongs to another run: seed was 0, now 9\n" in error_of(capsys)
    assert (tmp_path / "b.safetensors.checkpoint").exists()


def test_a_damaged_checkpoint_is_refused(shapes_folder, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    (tmp_path / "b.safetensors.checkpoint").write_bytes(b"\x00" * 64)
    assert run(long_run(shapes_folder, out, "--resume")) == 3
    assert "checkpoint" in error_of(capsys)
    assert (tmp_path / "b.safetensors.checkpoint").exists()


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(shapes_folder, tmp_path, monkeypatch, capsys):
    import dgdd_cli.engine.run
    from dgdd_cli.errors import DgddError

    def full(*arguments: object) -> None:
        raise DgddError("no space left on the device")

    monkeypatch.setattr(dgdd_cli.engine.run, "save_checkpoint", full)
    out = tmp_path / "b.safetensors"
    assert distill(shapes_folder, out, "--steps", "3", "--checkpoint-every", "0") == 0
    assert "no checkpoint at step 1: no space left" in capsys.readouterr().err
    assert load_bundle(out).manifest.steps == 3


@pytest.mark.parametrize("name", ["a b.safetensors", "-dash.safetensors", "--force.safetensors", "it's.safetensors"])
def test_the_hint_after_a_run_can_be_typed(shapes_folder, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert distill(shapes_folder, Path(name), "--steps", "1") == 0
    hint = capsys.readouterr().err.split("hint: ")[-1].strip()
    assert run([*shlex.split(hint)[1:], "--epochs", "1", "--set", "width=4", "--repeats", "1", "-q"]) == 0


def test_other_hints_with_a_name_like_an_option_can_be_typed(shapes_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = Path("-dash.safetensors")
    arguments = ["--target", "cyan", "--ipc", "1", "--image-size", "8", "--progress", "none"]
    assert run(["distill", str(shapes_folder), "--method", "random", "--out", str(out), *arguments]) == 0
    assert run(["cluster", str(shapes_folder), "--groups", "2", "--image-size", "8", "--out", "-groups"]) == 0
    hint = capsys.readouterr().err.split("hint: ")[-1].strip()
    assert run([*shlex.split(hint)[1:], "-q"]) == 0
    capsys.readouterr()
    assert run(["inspect", "./-dosh.safetensors"]) == 3
    (meant,) = re.findall(r"did you mean (\S+)\?", capsys.readouterr().err)
    assert run(["inspect", *shlex.split(meant), "-q"]) == 0


@pytest.mark.parametrize("device", ["CPU", "Auto"])
def test_a_device_is_known_in_capitals(shapes_folder, tmp_path, device):
    assert distill(shapes_folder, tmp_path / "b", "--steps", "1", "--device", device) == 0


@pytest.mark.parametrize("name", ["cyan", "-x", "x,y", "a b"])
def test_the_hint_after_a_run_that_holds_nothing_out_can_be_typed(shapes_folder, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (shapes_folder / "cyan").rename(shapes_folder / name)
    shutil.rmtree(shapes_folder / "amber")
    shutil.rmtree(shapes_folder / "blue")
    assert run(["distill", str(shapes_folder), "--target", "none", "--method", "random", "--ipc", "1"]) == 0
    hint = capsys.readouterr().err.split("hint: ")[-1].strip()
    assert run([*shlex.split(hint)[1:], "--epochs", "1", "--set", "width=4", "--repeats", "1", "-q"]) == 0

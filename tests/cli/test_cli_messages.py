"""What is logged under `dgdd` is said on stderr while a command works, and is ordinary logging everywhere else."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dgdd_cli.__main__ import run
from dgdd_cli.cli.output import Output

log = logging.getLogger("dgdd")


@pytest.mark.parametrize(("mode", "noted"), [("human", True), ("json", True), ("quiet", False)])
def test_notes_and_warnings_are_said_on_stderr(mode: str, noted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with Output(mode=mode).progress():  # type: ignore[arg-type]
        log.info("%d of them", 3)
        log.warning("50 %% of [bold]%s", "\x1b[2J")
        log.debug("never")
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == ("3 of them\n" if noted else "") + "warning: 50 % of [bold]\\x1b[2J\n"


def test_a_rank_that_does_not_lead_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress(leads=False) as report:
        report("stage", 1, 1)
        log.warning("a warning")
    assert capsys.readouterr() == ("", "")


def test_a_command_leaves_the_logger_as_it_was(
    shapes_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(log.handlers), log.level, log.propagate
    with pytest.raises(RuntimeError), Output().progress():
        raise RuntimeError
    chosen = ["--target", "none", "--image-size", "8", "--steps", "1", "--ipc", "1", "--cache-dir", str(tmp_path)]
    out = tmp_path / "bundle.safetensors"
    arguments = ["distill", str(shapes_folder), *chosen, "--out", str(out), "--resume"]
    assert run(arguments) == 0
    out.unlink()
    said = []
    for _ in range(2):
        assert run(arguments) == 0
        said.append(capsys.readouterr().err)
    assert said[0].count("starting from the first step") == 2  # of the run before, and of this one
    assert said[1].count("is already finished") == 1
    assert (list(log.handlers), log.level, log.propagate) == before
    with caplog.at_level(logging.INFO, logger="dgdd"):
        log.info("to a library's user")
    assert caplog.messages == ["to a library's user"]

"""The shell around the verbs, as its user meets it: real processes, their streams and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dgdd_cli
from dgdd_cli import __main__ as entry
from dgdd_cli.cli import app as shell
from dgdd_cli.errors import DataError, GateFailed, Interrupted, UsageError

VERBS = ("distill", "evaluate", "cluster", "inspect")


def dgdd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dgdd_cli", *arguments],
        capture_output=True,
        text=True,
        env={**clean_environment(), **environment},
        timeout=120,
    )


def clean_environment() -> dict[str, str]:
    own = ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "COLUMNS", "TERMINAL_WIDTH")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DGDD_") and k not in own}
    return {**kept, "PYTHONPATH": str(Path(dgdd_cli.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}


def loaded_by(statement: str) -> set[str]:
    """The modules that are loaded after a statement in a fresh process."""
    quietly = f"with contextlib.redirect_stdout(io.StringIO()):\n    {statement}"
    code = f"import sys, contextlib, io\n{quietly}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(), check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "-h"] for verb in VERBS)])
def test_help_does_without_torch(arguments: list[str]) -> None:
    loaded = loaded_by(f"from dgdd_cli.__main__ import run; assert run({arguments!r}) == 0")
    assert "typer" in loaded
    assert loaded.isdisjoint({"torch", "torchvision", "sklearn", "matplotlib", "PIL"})


def test_importing_the_package_loads_neither_torch_nor_the_command_line() -> None:
    assert loaded_by("import dgdd_cli").isdisjoint({"torch", "typer", "rich", "pydantic"})


def test_completion_does_without_torch() -> None:
    completing = (
        "import os; os.environ.update(_DGDD_COMPLETE='complete_bash', COMP_WORDS='dgdd cluster d', COMP_CWORD='2'); "
        "from dgdd_cli.__main__ import run; assert run([]) == 0"
    )
    assert loaded_by(completing).isdisjoint({"torch", "torchvision", "sklearn"})


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dgdd cl", "cluster"),
        ("dgdd cluster dig", "digits"),
        ("dgdd distill pacs --method dm-b", "dm-balanced"),
        ("dgdd cluster pacs --per c", "class"),
    ],
)
def test_completion_knows_the_names(words: str, offered: str) -> None:
    found = dgdd(_DGDD_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert found.stdout.split() == [offered]


def test_help_shows_verbs_examples_and_exit_codes() -> None:
    found = dgdd("--help")
    assert found.returncode == 0
    assert found.stderr == ""
    for part in (*VERBS, "Examples:", "dgdd distill pacs --ipc 10 --method sgs", "Exit codes:", "141", "130"):
        assert part in found.stdout


def test_examples_fit_into_80_columns() -> None:
    assert max(len(line) for lines in shell._EXAMPLES.values() for line in lines) <= 75


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_examples_and_panels(verb: str) -> None:
    found = dgdd(verb, "-h")
    assert found.returncode == 0
    assert f"Examples:\n   dgdd {verb}" in "\n".join(line.rstrip() for line in found.stdout.splitlines())
    for part in ("Output", "Runtime", "--json", "--quiet", "--debug", "[env var: DGDD_"):
        assert part in found.stdout


def test_without_arguments_it_helps() -> None:
    found = dgdd()
    assert found.returncode == 0
    assert found.stdout.strip() == dgdd("--help").stdout.strip()


def test_version() -> None:
    assert dgdd("--version").stdout == f"dgdd {dgdd_cli.__version__}\n"
    document = json.loads(dgdd("--version", "--json").stdout)
    assert document["schema"] == "dgdd.version/1"
    assert document["dgdd"] == dgdd_cli.__version__
    assert set(document) == {"schema", "dgdd", "python", "torch"}


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["distil"], "No such command 'distil'", "dgdd --help"),
        (["cluster", "digits", "--gruops", "3"], "--gruops", "--groups"),
        (["cluster", "digits"], "--groups", "dgdd cluster --help"),
        (["cluster"], "DATASET", "dgdd cluster --help"),
        (["cluster", "digits", "--groups", "3", "--per", "clas"], "clas", "dgdd cluster --help"),
        (["cluster", "digits", "--groups", "3", "--seed", "-1"], "--seed", "dgdd cluster --help"),
        (["cluster", "digits", "--groups", "3", "--progress", "fancy"], "fancy", "dgdd cluster --help"),
        (["inspect", "--json", "-q"], "exclude each other", "one of them"),
        (["--json"], "--json stands after the verb", "dgdd inspect --json"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, hint: str) -> None:
    found = dgdd(*arguments)
    assert found.returncode == 2
    assert found.stdout == ""
    error, *hints = found.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in found.stderr
    assert any(line.startswith("hint: ") and hint in line for line in hints)


def test_the_misspelt_verb_is_recognised() -> None:
    assert "distill" in dgdd("distil").stderr


def boom(error: BaseException) -> None:
    def verb() -> None:
        raise error

    shell.app.command("boom")(verb)


@pytest.fixture
def _without_boom() -> object:
    yield
    shell.app.registered_commands[:] = [c for c in shell.app.registered_commands if c.name != "boom"]


@pytest.mark.usefixtures("_without_boom")
@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UsageError("bad name", hint="try this\nor that"), 2, "error: bad name\nhint: try this\nhint: or that\n"),
        (DataError("torn file"), 3, "error: torn file\n"),
        (GateFailed("0.3 < 0.4"), 4, "error: 0.3 < 0.4\n"),
        (Interrupted("stopped at step 7", hint="--resume"), 130, "error: stopped at step 7\nhint: --resume\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (OSError(28, "No space left on device", "/x/out.bin"), 1, "error: No space left on device: /x/out.bin\n"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
        (MemoryError(), 1, "error: out of memory on the CPU\nhint: a smaller --image-size or --ipc takes less\n"),
        (RuntimeError("odd [x]"), 1, "error: internal: RuntimeError: odd [x]\nhint: run it again with --debug and"),
    ],
)
def test_errors_become_a_line_a_hint_and_a_code(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DGDD_DEBUG", raising=False)
    boom(error)
    assert entry.run(["boom"]) == code
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith(told)
    assert "Traceback" not in found.err


@pytest.mark.usefixtures("_without_boom")
def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DGDD_DEBUG", "1")
    boom(RuntimeError("odd"))
    assert entry.run(["boom"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "error: internal: RuntimeError: odd" in told


def test_debug_works_as_an_option() -> None:
    found = dgdd("inspect", "--json", "-q", "--debug")
    assert found.returncode == 2
    assert "Traceback" in found.stderr
    assert "error: --json and --quiet exclude each other" in found.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
@pytest.mark.parametrize("arguments", ["--version", "--help", "cluster --help"])
def test_a_closed_pipe_is_no_drama(arguments: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "dgdd_cli", *arguments.split()],
        stdout=write,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        timeout=120,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dgdd_cli", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\n"


WAITING = """
import sys, time
from dgdd_cli import __main__ as entry
from dgdd_cli.cli.app import app
from dgdd_cli.errors import Interrupted

def wait() -> None:
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        if {translate}:
            raise Interrupted("stopped", hint="--resume") from None
        raise

app.command("wait")(wait)
sys.argv = ["dgdd", "wait"]
entry.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("translate", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_it_in_order(number: int, code: int, translate: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(translate=translate)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert told == ("error: stopped\nhint: --resume\n" if translate else "error: interrupted\n")


def test_flag_over_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asking = ["distill", "digits", "--print-config"]
    monkeypatch.setenv("DGDD_SEED", "5")
    assert entry.run(asking) == 0
    assert tomllib.loads(capsys.readouterr().out)["seed"] == 5
    assert entry.run([*asking, "--seed", "6"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["seed"] == 6
    monkeypatch.setenv("DGDD_SEED", "five")
    assert entry.run(asking) == 2
    assert "DGDD_SEED" in capsys.readouterr().err

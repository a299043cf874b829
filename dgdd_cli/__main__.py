"""`dgdd` and `python -m dgdd_cli`: run the app, and turn whatever goes wrong into a line, a hint and an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

from dgdd_cli.cli.out_of_memory import out_of_memory
from dgdd_cli.errors import DgddError

FAILED, USAGE, HUNG_UP, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 2, 129, 130, 141, 143


def main() -> NoReturn:
    """Run this process's command line and exit with its code.

    SIGTERM and SIGHUP (the terminal closes) stop it as Ctrl-C does, with codes of their own. What cannot be written to
    stderr is dropped: a log costs no run.
    """
    stopped = []

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the shell repeats the kernel's
        stopped.append(TERMINATED if number == signal.SIGTERM else HUNG_UP)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, stop)
    from dgdd_cli.cli.lossy import Lossy

    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  (absent when the caller closed it)
    sys.stderr = cast(TextIO, Lossy(sys.stderr or open(os.devnull, "w")))  # noqa: SIM115
    code = run(sys.argv[1:])
    sys.exit(stopped[0] if stopped and code == INTERRUPTED else code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; every failure is told on stderr, none leaves as an exception."""
    debug = "--debug" in arguments or os.environ.get("DGDD_DEBUG", "").lower() not in ("", "0", "false", "no", "off")
    try:
        os.getcwd()
    except FileNotFoundError:
        return _tell("the current folder was deleted", "cd to a folder that exists", USAGE)
    try:
        from dgdd_cli.cli.app import app

        code = app(list(arguments), prog_name="dgdd", standalone_mode=False) or 0
        sys.stdout.flush()
        return _tell("interrupted", None, code) if code == INTERRUPTED else int(code)
    except SystemExit as stop:
        return _abandon_stdout() if isinstance(stop.__context__, BrokenPipeError) else _code_of(stop)
    except BrokenPipeError:
        return _abandon_stdout()
    except BaseException as problem:
        if debug:
            traceback.print_exc()
        return _explain(problem, debug, arguments[0] if arguments else "")


def _explain(problem: BaseException, debug: bool, verb: str) -> int:
    """Tell what went wrong and what to type; return the exit code."""
    if isinstance(problem, DgddError):
        return _tell(problem.message, problem.hint, problem.exit_code)
    if isinstance(problem, KeyboardInterrupt):
        return _tell("interrupted", None, INTERRUPTED)
    if hasattr(problem, "format_message") and hasattr(problem, "exit_code"):
        return _explain_usage(problem)
    if short := out_of_memory(problem, verb):
        traceback.clear_frames(problem.__traceback__)  # they hold what filled the memory, and telling needs some
        return _tell(*short, FAILED)
    if isinstance(problem, OSError):
        if problem.filename is None and not sys.stdout.closed:
            _abandon_stdout()  # it may be stdout itself that is full
        where = f": {problem.filename}" if problem.filename is not None else ""
        return _tell(f"{problem.strerror or problem}{where}", None, FAILED)
    hint = (
        "report it together with the traceback above" if debug else "run it again with --debug and report the traceback"
    )
    return _tell(f"internal: {type(problem).__name__}: {problem}", hint, FAILED)


def _explain_usage(problem: Any) -> int:
    """A usage error of Typer, whose class has no public name but always this shape."""
    command = getattr(getattr(problem, "ctx", None), "command_path", "dgdd")
    if near := getattr(problem, "possibilities", None):
        return _tell(problem.message, f"did you mean {' or '.join(near)}?\n{command} --help", problem.exit_code)
    return _tell(problem.format_message(), f"{command} --help", problem.exit_code)


def _tell(message: str, hint: str | None, code: int) -> int:
    from dgdd_cli.cli.output import Output

    with contextlib.suppress(SystemExit, OSError):  # nobody may be reading stderr either
        Output().error(message, hint)
    return code


def _abandon_stdout() -> int:
    """Point stdout at nothing: the interpreter flushes it once more at its end, and that must not fail again."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # a stdout in memory has no number
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return BROKEN_PIPE


def _code_of(stop: SystemExit) -> int:
    return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else FAILED


if __name__ == "__main__":
    main()

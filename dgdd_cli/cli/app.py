"""The Typer app: four verbs, the version, and a help that shows lines to type."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Annotated

import typer

from dgdd_cli import __version__
from dgdd_cli.cli.cluster import cluster
from dgdd_cli.cli.distill import distill
from dgdd_cli.cli.evaluate import evaluate
from dgdd_cli.cli.inspect import inspect
from dgdd_cli.cli.output import Output
from dgdd_cli.errors import UsageError

_EXIT_CODES = """Exit codes:
    0  done
    1  failed while running
    2  usage or configuration is wrong
    3  data, bundle or groups file is invalid
    4  a gate was not met (--min-accuracy, --max-gap, --verify)
  129  the terminal was closed; the checkpoint is kept
  130  interrupted by Ctrl-C; the checkpoint is kept
  141  the reader of stdout went away
  143  terminated; the checkpoint is kept"""

_EXAMPLES = {
    "dgdd": ["dgdd distill pacs --ipc 10 --method sgs", "dgdd evaluate bundle.safetensors --target sketch"],
    "distill": [
        "dgdd distill digits --ipc 10 --method sgs",
        "dgdd distill pacs --data ~/datasets --target sketch --out pacs.safetensors",
        "dgdd distill ./my-dataset --target none --ipc 1",
        "dgdd distill digits --method sgs --risk cvar --groups domain",
    ],
    "evaluate": [
        "dgdd evaluate bundle.safetensors",
        "dgdd evaluate bundle.safetensors --target sketch --network convnet,resnet18",
        "dgdd evaluate a.safetensors b.safetensors --baseline random,whole --json",
        "dgdd evaluate bundle.safetensors --groups kmeans:10 --corruptions blur",
        "dgdd evaluate bundle.safetensors --trainer groupdro",
        "dgdd evaluate bundle.safetensors --min-accuracy 0.4",
    ],
    "cluster": [
        "dgdd cluster digits --groups 10",
        "dgdd cluster pacs --groups auto --per class --features convnet",
        "dgdd cluster pacs --domains photo,cartoon --groups 5 --json",
    ],
    "inspect": [
        "dgdd inspect",
        "dgdd inspect bundle.safetensors --verify",
        "dgdd inspect bundle.safetensors --gallery grid.png --export images/",
    ],
}


def _epilog(name: str) -> str:
    # Typer takes off the indentation that all lines but the first share: the empty first one protects it.
    return "\n".join(["", "Examples:", *(f"  {line}" for line in _EXAMPLES[name])])


app = typer.Typer(
    name="dgdd",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{_epilog('dgdd')}\n\n{_EXIT_CODES}",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def dgdd(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Show the version and exit.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --version: as one JSON document.")] = False,
) -> None:
    """Distil multi-domain image sets into a few synthetic images per class that work on domains nobody saw."""
    if version:
        _show_version(json)
        raise typer.Exit
    if json:
        raise UsageError("--json stands after the verb", hint="dgdd inspect --json")
    if ctx.invoked_subcommand is None:
        text = ctx.get_help()  # empty when rich has already shown it
        if text:
            typer.echo(text)


def _show_version(json: bool) -> None:
    document = {
        "schema": "dgdd.version/1",
        "dgdd": __version__,
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }
    Output(mode="json" if json else "human").result(document, human=f"dgdd {__version__}", quiet=__version__)


for _verb in (distill, evaluate, cluster, inspect):
    app.command(_verb.__name__, epilog=_epilog(_verb.__name__))(_verb)

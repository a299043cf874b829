"""The command line: the only room that knows typer and rich; no module here imports torch when it is loaded."""

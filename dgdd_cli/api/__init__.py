"""The Python face: what the command line itself calls, with keywords that have the flags' names."""

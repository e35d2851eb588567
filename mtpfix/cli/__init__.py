"""The command line: parse, call the library, render, map the exit code.

Heavy imports happen inside the commands, so that `--help` and `--version` are quick.
"""

from mtpfix.cli.app import main

__all__ = ["main"]

"""The command line: `exchange`. It translates, as every door; `exchange --help` says what there is."""

import gc

# What is imported stays, so to look for what could go makes a start a sixth longer.
gc.disable()

from exchange.cli.commands import app  # noqa: E402 - not before the collector is off
from exchange.cli.running import run  # noqa: E402 - the same

gc.enable()

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; the console script's entry point."""
    run(app)

"""The command line: `exchange`. It translates, as every door; `exchange --help` says what there is."""

from exchange.cli.commands import app
from exchange.cli.running import run

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; the console script's entry point."""
    run(app)

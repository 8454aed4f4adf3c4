"""`python -m exchange` is the same as `exchange`."""

from exchange.cli import main

main()

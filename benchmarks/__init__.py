"""Benchmarks as a tool: `python -m benchmarks --help`.

It starts its own PostgreSQL at default durability, the servers and the load client, runs its variants by turns, and holds what it measured
to the targets: ratios of one run, for absolute figures depend on the disk.
"""

import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent

# The clusters and builders of the tests serve here too.
sys.path[:0] = [str(ROOT / "tests")]

"""What `make mutants` needs of pytest, as a plugin; and what it found, by room, as a script.

With states as arguments (`survived untested`), the script has the mutants in them tried again by the next run.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
from rich.console import Console
from rich.table import Table

RESULTS: Final = Path("mutants")
STATES: Final = {
    0: "survived",
    1: "killed",
    2: "broken",
    3: "broken",
    33: "untested",
    152: "timeout",
    255: "broken",
    -9: "timeout",
    -24: "timeout",
    None: "waiting",
}
"""Of a mutant, by the exit code of its process. Broken is a run in which pytest itself failed: it proves nothing, so it counts as alive."""
DEAD: Final = ("killed", "timeout")
ALIVE: Final = ("survived", "untested", "broken")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what costs most come last: most mutants die before."""

    def cost(item: pytest.Item) -> int:
        by_file = {"test_rules.py": 0, "test_invariants.py": 2, "test_model.py": 3}
        return by_file.get(item.path.name, 2 if "[sqlite" in item.name else 1)

    items.sort(key=cost)


def pytest_runtest_setup() -> None:
    """Forget what is cached while mutmut looks which tests reach which functions: else the first test alone would."""
    if os.environ.get("MUTANT_UNDER_TEST") == "stats":
        for name in [name for name in sys.modules if name.startswith("exchange.")]:
            for value in vars(sys.modules[name]).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def verdicts() -> dict[str, dict[str, str]]:
    """Give each mutant's state, by file and name."""
    found = {}
    for path in sorted(RESULTS.glob("exchange/**/*.meta")):
        codes = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
        found[str(path.relative_to(RESULTS).with_suffix(""))] = {name: STATES[code] for name, code in codes.items()}
    return found


def forget(states: Iterable[str]) -> None:
    """Have the mutants in these states tried again, with all tests that reach them by now."""
    (RESULTS / "mutmut-stats.json").unlink(missing_ok=True)
    for path in RESULTS.glob("exchange/**/*.meta"):
        results = json.loads(path.read_text("utf-8"))
        codes = results["exit_code_by_key"]
        results["exit_code_by_key"] = {name: None if STATES[code] in states else code for name, code in codes.items()}
        path.write_text(json.dumps(results), "utf-8")


def room_of(path: str) -> str:
    """Name the room of a file: its folder, but all rules are one room."""
    return "rules" if path.endswith("/rules.py") else path.split("/")[1]


def main() -> None:
    """List who is not dead, and sum up."""
    console = Console(highlight=False)
    rooms: dict[str, Counter[str]] = {}
    for path, states in verdicts().items():
        rooms.setdefault(room_of(path), Counter()).update(states.values())
        for name, state in states.items():
            if state in {*ALIVE, "timeout"}:
                console.print(f"{state:10}{name}", soft_wrap=True)
    rooms["all"] = sum(rooms.values(), Counter())
    table = Table("room", "mutants", *DEAD, *ALIVE, "waiting", "score")
    for room, counted in rooms.items():
        dead, alive = (sum(counted[state] for state in states) for states in (DEAD, ALIVE))
        columns = (counted.total(), *(counted[state] for state in (*DEAD, *ALIVE, "waiting")))
        table.add_row(room, *map(str, columns), f"{100 * dead / (dead + alive):.1f} %" if dead + alive else "")
    Console(width=120).print(table)


if __name__ == "__main__":
    if sys.argv[1:]:
        forget(sys.argv[1:])
    else:
        main()

"""The guides' examples: read from the pages, run in one shell in their order, and what they print compared with what the page shows.

A block of `sh` is run; a block of `json` or `text` right after it is what it must print. In it, `…` stands for what differs each time: in JSON for
a whole text or the rest of an object or list, in text for any part of a line. A block that is not run says why in the line above it.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commandline import ROOT

ANY = "…"
NOT_RUN = "*Not run by the tests: "
MARK = "\x1e"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(slots=True)
class Example:
    """A block that is run, and what it must print: JSON, text, or whatever (None)."""

    place: str
    script: str
    language: str | None = None
    shown: str = ""

    def differs(self, printed: str) -> bool:
        """Tell whether it printed something else than the page shows."""
        if self.language == "json":
            try:
                return not fits(list(documents(self.shown)), list(documents(printed)))
            except ValueError:
                return True
        if self.language == "text":
            return not re.fullmatch(re.escape(self.shown.strip()).replace(ANY, ".*"), printed.strip())
        return False


def documents(text: str) -> Iterator[Any]:
    """Read JSON values that stand one after the other. Raises ValueError."""
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        yield value
        rest = rest[end:].lstrip()


def fits(shown: Any, found: Any) -> bool:
    """Compare JSON values."""
    if shown == ANY:
        return True
    if isinstance(shown, dict) and isinstance(found, dict):
        named = shown.keys() - {ANY}
        whole = ANY in shown or named == found.keys()
        return whole and named <= found.keys() and all(fits(shown[name], found[name]) for name in named)
    if isinstance(shown, list) and isinstance(found, list):
        if shown and shown[-1] == ANY:
            shown, found = shown[:-1], found[: len(shown) - 1]
        return len(shown) == len(found) and all(map(fits, shown, found))
    return type(shown) is type(found) and bool(shown == found)


def examples(page: Path) -> list[Example]:
    """Read a page. Raises AssertionError where a block is neither run, nor printed by one, nor excused."""
    text = page.read_text(encoding="utf-8")
    found: list[Example] = []
    ended = -1
    for block in FENCE.finditer(text):
        language, body = block[1], block[2]
        place = f"{page.name}:{text.count(chr(10), 0, block.start()) + 1}"
        before = text[: block.start()].rstrip("\n").rpartition("\n")[2]
        if before.startswith(NOT_RUN):
            continue
        if language == "sh":
            found.append(Example(place, body))
            ended = block.end()
        else:
            assert language in {"json", "text"}, f"{place}: it is neither run nor shows what is printed"
            assert not text[ended : block.start()].strip(), f"{place}: it does not follow what prints it"
            found[-1].language, found[-1].shown = language, body
    return found


def run(shown: list[Example], folder: Path, port: int, url: str) -> list[str]:
    """Run examples in one shell; give what each printed. Raises AssertionError where one fails."""
    script = folder / "examples.sh"
    script.write_text("".join(f"{one.script}printf '{MARK}'\n" for one in shown), encoding="utf-8")
    settings = {name: value for name, value in os.environ.items() if not name.startswith("EXCHANGE_")}
    settings |= {"TOUR_PORT": str(port), "TOUR_DATABASE_URL": url, "TMPDIR": str(folder), "COLUMNS": "120"}
    command = ["bash", "-euo", "pipefail", str(script)]
    with (
        (folder / "stdout").open("w+b") as out,
        (folder / "stderr").open("w+b") as err,
        subprocess.Popen(
            command, cwd=ROOT, env=settings, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        ) as shell,
    ):
        try:
            ended = shell.wait(timeout=300)
        finally:
            # The server that the examples started, where they did.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    printed = (folder / "stdout").read_text(encoding="utf-8").split(MARK)
    if ended:
        raise AssertionError(
            f"{shown[len(printed) - 1].place} failed:\n{printed[-1]}\n{(folder / 'stderr').read_text(encoding='utf-8')}"
        )
    return printed

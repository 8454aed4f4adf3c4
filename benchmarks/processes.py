"""What processes cost: processor time and memory, as Linux counts them; and programs run to their end, with what they took."""

import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = resource.getpagesize()
MIB: Final = 1024 * 1024


class Failed(Exception):  # noqa: N818 - reads as what happened
    """A program did not do what it was started for."""


def family(process: int) -> Iterator[int]:
    """Give a process and all its descendants that live."""
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def cpu_s(process: int) -> float:
    """Give the processor time of a process and its descendants, in seconds; those that ended and were waited for are in it."""
    ticks = 0
    for member in family(process):
        try:
            said = Path(f"/proc/{member}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # After the name, which may hold anything: state is the third field, own and reaped children's times are 14 to 17.
        ticks += sum(int(field) for field in said.rpartition(")")[2].split()[11:15])
    return ticks / TICKS_PER_S


def rss_mib(process: int) -> float:
    """Give the resident memory of a process alone, in MiB; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * PAGE_BYTES / MIB


def worker_rss_mib(process: int) -> float:
    """Give the resident memory of the largest among a process and its descendants, in MiB."""
    return max(rss_mib(member) for member in family(process))


@dataclass(slots=True)
class Program:
    """A program that runs, its output kept in files, since pipes would have to be read meanwhile."""

    process: "subprocess.Popen[bytes]"
    out: Path
    folder: "tempfile.TemporaryDirectory[str]"
    cpu_s: float = 0.0
    """What it took, once it has ended."""

    @classmethod
    def start(cls, command: Sequence[str | Path], **environment: str) -> Self:
        """Start it."""
        folder = tempfile.TemporaryDirectory(prefix="exchange-bench-")
        out = Path(folder.name) / "out"
        with out.open("wb") as written:
            process = subprocess.Popen(
                list(map(str, command)), stdout=written, stderr=subprocess.STDOUT, env=os.environ | environment
            )
        return cls(process, out, folder)

    def end(self) -> str:
        """Wait for it and give what it said. Raises Failed where it did not succeed."""
        try:
            _, status, usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s = usage.ru_utime + usage.ru_stime
            said = self.out.read_text(encoding="utf-8", errors="replace")
        finally:
            self.stop()
        if self.process.returncode:
            raise Failed(f"{self.process.args!r} ended with {self.process.returncode}:\n{said[-4_000:]}")
        return said

    def stop(self) -> None:
        """Leave nothing of it."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

"""Looking at a process every now and then while something else goes on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.processes import worker_rss_mib


@dataclass(slots=True)
class Samples:
    """The memory of the largest process of a family, over time."""

    seconds: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The peak of the second half of the time ÷ that of the first."""
        half = len(self.rss_mib) // 2
        return max(self.rss_mib[half:]) / max(self.rss_mib[: half or 1])


@contextmanager
def sampled(process: int, every_s: float) -> Iterator[Samples]:
    """Sample a process's memory until the block ends."""
    found = Samples()
    over = threading.Event()
    began = time.monotonic()

    def look() -> None:
        while not over.wait(every_s):
            rss = worker_rss_mib(process)
            if rss:
                found.seconds.append(time.monotonic() - began)
                found.rss_mib.append(rss)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()

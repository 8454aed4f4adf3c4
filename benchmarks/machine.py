"""What was measured on what: machine, versions, the moment, the source, the command."""

import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from cluster import Cluster

from benchmarks import ROOT

LIBRARIES: Final = ("asyncpg", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "orjson", "pydantic")
FSYNCS: Final = 50
BLOCK: Final = bytes(8192)


def described(place: Cluster) -> dict[str, Any]:
    """Describe it all."""
    commit = _said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    changed = bool(_said("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "commit": commit + (" with changes" if changed else ""),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
            "system": platform.platform(),
            "file_system": _said("df", "--output=fstype", str(place.data.parent)).split()[-1],
            "fsync_ms": fsync_ms(place.data.parent),
            "load": os.getloadavg(),
        },
        "versions": {
            "python": platform.python_version(),
            "postgresql": _said(str(place.bin / "postgres"), "--version").split()[2],
            "wrk": _said("wrk", "--version").partition("wrk ")[2].split(" ")[0],
            **{name: version(name) for name in LIBRARIES},
        },
    }


def fsync_ms(folder: Path) -> float:
    """Write a block and wait for the disk, many times; give the median in milliseconds."""
    path = folder / "fsync"
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            file.write(BLOCK)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1e3)
    path.unlink()
    return round(statistics.median(took), 3)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()

"""A PostgreSQL cluster of the tests' own: found, started, and removed again; also when called as root, which PostgreSQL refuses to run as."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

OLDEST = 15
REMEDY = "Install PostgreSQL 15 or newer (Debian: apt-get install postgresql), or put its `initdb` on PATH."
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def binaries() -> Path | None:
    """Find the folder with initdb and postgres: on PATH, else where Debian puts it, the newest first."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return next((folder for folder in folders if _version(folder) >= OLDEST), None)


def _version(folder: Path) -> int:
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except OSError:
        return 0
    return int(said.split()[2].split(".")[0])


def _unprivileged() -> str | None:
    """Name the user to run as, where we are root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@dataclass
class Cluster:
    """A running cluster."""

    bin: Path
    data: Path
    port: int
    options: tuple[str, ...]
    user: str | None

    @property
    def version(self) -> int:
        return _version(self.bin)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, *command: str | Path) -> None:
        """Run a program of PostgreSQL's as the cluster's user."""
        done = subprocess.run(
            command, user=self.user, cwd=self.data.parent, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = " ".join(f"-c {option}" for option in self.options)
        where = f"-p {self.port} -k {self.data.parent} -c listen_addresses=127.0.0.1 {settings}"
        # The server outlives pg_ctl and must not hold our pipes open: its output goes to the log alone.
        self.run(self.bin / "pg_ctl", "-D", self.data, "-o", where, "-l", self.data.parent / "log", "-w", "-s", "start")

    def runs(self) -> bool:
        """Tell whether the server takes connections."""
        try:
            self._say("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` is a crash."""
        self.run(self.bin / "pg_ctl", "-D", self.data, "-m", mode, "-w", "-s", "stop")

    def kill(self) -> None:
        """Kill the server and all its processes, so that nobody can tidy up."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)  # it starts no more of them, and mourns none
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for process in (postmaster, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        while any(Path(f"/proc/{process}").exists() for process in (postmaster, *children)):
            time.sleep(0.01)

    def create_database(self, name: str, template: str = "template1", tablespace: str = "pg_default") -> None:
        self._say(f'CREATE DATABASE "{name}" TEMPLATE "{template}" TABLESPACE "{tablespace}"')

    def drop_database(self, name: str) -> None:
        self._say(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def create_tablespace(self, name: str, folder: Path) -> None:
        self._say(f"CREATE TABLESPACE \"{name}\" LOCATION '{folder}'")

    def drop_tablespace(self, name: str) -> None:
        self._say(f'DROP TABLESPACE "{name}"')

    def _say(self, statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.url("postgres"))
            await connection.execute(statement)
            await connection.close()

        asyncio.run(run())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def cluster(*, durable: bool = False, within: Path = Path("/tmp")) -> Iterator[Cluster]:
    """Run a cluster in a folder of its own within one that everybody may enter; `durable` leaves the defaults, else nothing waits for the disk."""
    folder = binaries()
    assert folder is not None, REMEDY
    user = _unprivileged()
    home = Path(tempfile.mkdtemp(prefix="exchange-pg-", dir=within))
    try:
        if user:
            shutil.chown(home, user)
        made = Cluster(folder, home / "data", free_port(), () if durable else FAST, user)
        made.run(folder / "initdb", "-D", made.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N")
        made.start()
        try:
            yield made
        finally:
            if (made.data / "postmaster.pid").exists():  # a test of crashes may have stopped it
                made.stop("immediate")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def standby(of: Cluster) -> Iterator[Cluster]:
    """Run a cluster that follows another one, and answers whoever only reads."""
    home = Path(tempfile.mkdtemp(prefix="exchange-pg-", dir="/tmp"))
    try:
        if of.user:
            shutil.chown(home, of.user)
        options = (*FAST, "wal_retrieve_retry_interval=100ms")
        made = Cluster(of.bin, home / "data", free_port(), options, of.user)
        source = f"host=127.0.0.1 port={of.port} user=postgres"
        # Beside the server itself, of which PATH may name only a link.
        copy = (of.bin / "postgres").resolve().parent / "pg_basebackup"
        made.run(copy, "-D", made.data, "-d", source, "-R", "-X", "stream", "-c", "fast", "-N")
        made.start()
        try:
            yield made
        finally:
            made.stop("immediate")
    finally:
        shutil.rmtree(home, ignore_errors=True)

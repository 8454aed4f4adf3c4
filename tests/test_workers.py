"""Several processes that serve together: a supervisor and its workers, on PostgreSQL, under load, replaced, killed and stopped."""

import asyncio
import os
import re
import signal
import socket
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from commandline import CommandLine
from exchanges import Exchange, Offer
from markets import assert_sound
from prometheus_client.parser import text_string_to_metric_families
from serving import Served, a_secret, served
from test_stopping import FRESH, KEEPING, Load, answer, connected

from exchange.access.tables import Role
from exchange.cli.channels import Channel, Word
from exchange.cli.serving import CannotListen
from exchange.cli.supervising import NoTemporaryFolder, Supervisor, listeners, supervise
from exchange.trades.tables import Trade

PATIENCE_S = 60
Market = tuple[str, Offer, str]


@pytest.fixture
def market(postgres_url: str) -> Market:
    """An exchange with a listing, and a buyer's key."""
    with Exchange.at(postgres_url) as place:
        buyer, offer = place.a_member(), place.a_listing()
        return postgres_url, offer, a_secret(place, Role.MEMBER, uscc=buyer.uscc)


@contextmanager
def two_workers(url: str, folder: Path, *arguments: str, **settings: str) -> Iterator[Served]:
    """Run two workers until they are stopped, or to the end of the block; both serve when it begins."""
    with served(url, folder, "--workers", "2", *arguments, **settings) as server:
        until(lambda: said(server, "all workers serve"))
        yield server


def until(there: Callable[[], Any]) -> None:
    """Wait until something is there."""
    end = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def said(server: Served, event: str) -> list[dict[str, Any]]:
    """Give what was logged of an event; whoever logs meanwhile has not ended its last line."""
    whole, _, _ = server.log.read_text(encoding="utf-8").rpartition("\n")
    server.log.with_suffix(".whole").write_text(whole, encoding="utf-8")
    found = Served(server.process, server.url, server.log.with_suffix(".whole")).lines()
    return [line for line in found if line["event"] == event]


def until_said(server: Served, event: str, times: int) -> None:
    until(lambda: len(said(server, event)) == times)


def processes(server: Served) -> dict[int, int]:
    """Find the workers that live: the process of each number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().decode().split("\0")
            parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == server.process.pid and "worker" in arguments:
            found[int(arguments[arguments.index("worker") + 1])] = int(entry.name)
    return found


def figures(server: Served) -> dict[tuple[str, ...], float]:
    answer = httpx.get(f"{server.url}/metrics", timeout=30)
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def accepted(server: Served) -> float:
    return figures(server)["exchange_journal_commands_total", "accepted"]


def contracts(url: str) -> Counter[str | None]:
    with Exchange.at(url) as place:
        assert_sound(place)
        return Counter(trade.contract_number for trade in place.records(Trade))


class Strict(Load):
    """Clients to whom a connection that ends unannounced is a failure."""

    async def until_over(self, over: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(KEEPING + FRESH):
                clients.create_task(self._strictly(over, keeps=number < KEEPING))

    async def _strictly(self, over: asyncio.Event, *, keeps: bool) -> None:
        while not over.is_set():
            async with connected(self.host, self.port) as (reader, writer):
                while await self._order(reader, writer) and keeps and not over.is_set():
                    pass

    async def during(self, act: Callable[[], Any]) -> None:
        """Order while something is done."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.until_over(over))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(act)
            await asyncio.sleep(0.5)
            over.set()


@pytest.mark.postgres
def test_both_write_and_while_they_are_replaced_under_load_no_request_fails(market: Market, tmp_path: Path) -> None:
    url, offer, secret = market
    with two_workers(url, tmp_path) as server:
        load = Strict(server, offer, secret)
        before = processes(server)

        def replace() -> None:
            server.process.send_signal(signal.SIGHUP)
            until(lambda: said(server, "all workers are replaced"))

        asyncio.run(load.during(replace))
        after = processes(server)
        counted = accepted(server)
        server.process.terminate()
        code = server.process.wait(timeout=PATIENCE_S)

    assert (set(before), set(after)) == ({1, 2}, {3, 4})
    assert code == 0
    assert {order.status for order in load.orders} == {201}
    assert {line["worker"] for line in said(server, "request") if line["operation"] == "create_trade"} == {1, 2, 3, 4}
    # Who was replaced is still counted.
    assert counted == len(load.orders)
    assert contracts(url) == Counter(f"HT-{order.number}" for order in load.orders)


@pytest.mark.postgres
def test_stopped_under_load_both_answer_who_asked_and_nothing_is_lost_or_done_twice(
    market: Market, tmp_path: Path
) -> None:
    url, offer, secret = market
    with two_workers(url, tmp_path, access_log="false") as server:
        load = Load(server, offer, secret)
        told_at = asyncio.run(load.until_stopped(server.process))
        code = server.process.wait(timeout=PATIENCE_S)

    made = contracts(url)
    unanswered = [order for order in load.orders if order.status is None]
    done = {f"HT-{order.number}" for order in load.orders if order.status == 201}
    assert code == 0
    assert {order.status for order in load.orders} <= {201, None}
    assert [order for order in unanswered if order.sent_at < told_at] == []
    assert set(made.values()) == {1}
    assert done <= set(made) <= done | {f"HT-{order.number}" for order in unanswered}


@pytest.mark.postgres
def test_who_is_idle_may_still_ask_a_worker_that_is_replaced(market: Market, tmp_path: Path) -> None:
    url, _, _ = market

    async def ask() -> list[tuple[int, bool]]:
        host, _, port = server.url.removeprefix("http://").partition(":")
        async with connected(host, int(port)) as (reader, writer):

            async def get() -> tuple[int, bool]:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: exchange.test\r\n\r\n")
                return await answer(reader)

            first = await get()
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(until, lambda: said(server, "retiring"))
            await asyncio.sleep(1)
            # Whichever of the two it was: the other waits for its turn.
            return [first, await get()]

    with two_workers(url, tmp_path) as server:
        found = asyncio.run(ask())
        until(lambda: said(server, "all workers are replaced"))

    assert [status for status, _ in found] == [200, 200]


@pytest.mark.postgres
def test_a_worker_that_dies_is_replaced_with_a_growing_pause_and_no_counter_goes_back(
    market: Market, tmp_path: Path
) -> None:
    url, _, _ = market
    with two_workers(url, tmp_path) as server:
        before = figures(server)
        for number in (1, 2):
            os.kill(max(processes(server).items())[1], signal.SIGKILL)
            until_said(server, "a worker ended, another takes its place", number)
            until_said(server, "serving", 2 + number)
        until(lambda: len([what for what in figures(server) if what[0] == "process_resident_memory_bytes"]) == 2)
        after = figures(server)
        # Stopped in the pause, it starts nobody.
        os.kill(max(processes(server).items())[1], signal.SIGKILL)
        until_said(server, "a worker ended, another takes its place", 3)
        server.process.terminate()
        assert server.process.wait(timeout=PATIENCE_S) == 0

    ends = said(server, "a worker ended, another takes its place")
    assert [(end["worker"], end["code"], end["pause_s"]) for end in ends] == [
        (2, -9, 0.5),
        (3, -9, 1.0),
        (4, -9, 2.0),
    ]
    assert len(said(server, "serving")) == 4
    for what, value in before.items():
        if what[0].endswith(("_total", "_count", "_bucket", "_sum")) and not what[0].startswith("process_"):
            assert after[what] >= value, what
    assert {what[1] for what in after if what[0] == "process_resident_memory_bytes"} == {"1", "4"}


@pytest.mark.postgres
def test_a_worker_that_cannot_start_stops_a_replacement_and_those_that_serve_go_on(
    market: Market, tmp_path: Path
) -> None:
    url, _, _ = market
    limit = tmp_path / "limit"
    limit.write_text("10", encoding="utf-8")
    with two_workers(url, tmp_path, queue_limit_file=str(limit)) as server:
        limit.write_text("none", encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: '"a worker could not start, those that serve go on"' in server.log.read_text(encoding="utf-8"))
        answers = [httpx.get(f"{server.url}/readyz", timeout=30).status_code for _ in range(8)]
        alive = set(processes(server))
        server.process.terminate()
        assert server.process.wait(timeout=PATIENCE_S) == 0

    assert answers == [200] * 8
    assert alive == {1, 2}


@pytest.mark.postgres
def test_without_their_supervisor_workers_stop_and_leave_the_port(market: Market, tmp_path: Path) -> None:
    url, _, _ = market
    with two_workers(url, tmp_path) as server:
        server.process.kill()
        server.process.wait()
        until(lambda: len(said(server, "stopped")) == 2)
        host, port = server.url.removeprefix("http://").split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5)


@pytest.mark.postgres
def test_where_the_supervisor_does_not_answer_figures_are_refused_and_later_told(
    market: Market, tmp_path: Path
) -> None:
    url, _, _ = market
    with two_workers(url, tmp_path) as server:
        server.process.send_signal(signal.SIGSTOP)
        refused = httpx.get(f"{server.url}/metrics", timeout=30)
        server.process.send_signal(signal.SIGCONT)
        counted = figures(server)

    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/stopping")
    assert counted["exchange_problems_total", "stopping"] == 1


@pytest.mark.postgres
def test_a_worker_that_does_not_answer_is_counted_as_it_was_last(market: Market, tmp_path: Path) -> None:
    url, _, _ = market
    with two_workers(url, tmp_path) as server:
        before = httpx.get(f"{server.url}/metrics", timeout=30).text
        os.kill(processes(server)[2], signal.SIGSTOP)
        during = asked_until_answered(server)
        os.kill(processes(server)[2], signal.SIGCONT)

    assert during.status_code == 200
    assert re.findall('process_open_fds{worker="."}', during.text) == re.findall('process_open_fds{worker="."}', before)


def asked_until_answered(server: Served) -> httpx.Response:
    """Ask on many new connections at once, as some come to the one that is stopped; give the first answer."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            asked = [asyncio.ensure_future(client.get(f"{server.url}/metrics")) for _ in range(16)]
            answered, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return answered.pop().result()

    return asyncio.run(ask())


@pytest.mark.postgres
def test_a_list_begun_with_one_worker_goes_on_with_another(market: Market, tmp_path: Path) -> None:
    url, offer, secret = market
    with two_workers(url, tmp_path) as server:
        asyncio.run(Strict(server, offer, secret).during(lambda: None))
        headers = {"Authorization": f"Bearer {secret}"}
        first = httpx.get(f"{server.url}/v1/trades", params={"limit": 1}, headers=headers, timeout=30).json()
        for _ in range(12):
            told = httpx.get(
                f"{server.url}/v1/trades", params={"limit": 1, "cursor": first["next"]}, headers=headers, timeout=30
            )
            assert told.status_code == 200, told.text

    assert {line["worker"] for line in said(server, "request") if line["operation"] == "list_trades"} == {1, 2}


@pytest.mark.postgres
def test_one_worker_writes_for_all_in_a_folder_that_is_its_owners_alone_and_gone_at_the_end(
    market: Market, tmp_path: Path
) -> None:
    url, offer, secret = market
    with two_workers(url, tmp_path) as server:
        asyncio.run(Strict(server, offer, secret).during(lambda: None))
        arguments = Path(f"/proc/{processes(server)[1]}/cmdline").read_bytes().decode().split("\0")
        folder = Path(arguments[arguments.index("worker") + 4])
        mode, owner = folder.stat().st_mode, folder.stat().st_uid
        found = {one.suffix for one in folder.iterdir()}
        server.process.terminate()
        server.process.wait(timeout=PATIENCE_S)

    assert (stat.filemode(mode), owner) == ("drwx------", os.getuid())
    assert found == {".sock", ".lock"}
    assert not folder.exists()
    assert len(said(server, "this process runs the batches of all")) == 1


@pytest.mark.postgres
def test_who_is_in_a_hurry_stops_workers_with_a_second_signal_even_as_they_start(
    market: Market, tmp_path: Path
) -> None:
    url, _, _ = market
    with two_workers(url, tmp_path, drain_s="60") as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(processes(server)) == 3)
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        code = server.process.wait(timeout=20)

    assert code == 0
    assert not said(server, "all workers are replaced")


@pytest.mark.postgres
def test_stopped_as_it_starts_it_ends_well(market: Market, tmp_path: Path) -> None:
    url, _, _ = market
    with served(url, tmp_path, "--workers", "2") as server:
        server.process.terminate()
        code = server.process.wait(timeout=PATIENCE_S)

    assert code == 0


@pytest.mark.postgres
def test_where_a_worker_cannot_start_the_whole_is_refused(market: Market, tmp_path: Path) -> None:
    url, _, _ = market
    limit = tmp_path / "limit"
    limit.write_text("10", encoding="utf-8")
    with served(url, tmp_path, "--workers", "2", queue_limit_file=str(limit)) as server:
        # The supervisor has read it by now, and the workers have not.
        limit.write_text("none", encoding="utf-8")
        code = server.process.wait(timeout=PATIENCE_S)

    assert code == 7


@pytest.mark.postgres
def test_a_worker_that_is_replaced_stops_when_all_stop(market: Market, tmp_path: Path) -> None:
    url, _, _ = market
    with two_workers(url, tmp_path, cursor_secret="s" * 32) as server, ExitStack() as idle:
        host, port = server.url.removeprefix("http://").split(":")
        for _ in range(12):
            one = idle.enter_context(socket.create_connection((host, int(port)), timeout=30))
            one.sendall(b"GET /livez HTTP/1.1\r\nHost: exchange.test\r\n\r\n")
            assert one.recv(10_000).startswith(b"HTTP/1.1 200")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: said(server, "retiring"))
        time.sleep(1)
        assert not said(server, "stopped")
        server.process.terminate()
        code = server.process.wait(timeout=30)

    assert code == 0
    assert not said(server, "all workers are replaced")


@pytest.mark.postgres
def test_a_stop_that_comes_before_the_workers_are_there_reaches_them(
    market: Market, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, _, _ = market
    monkeypatch.setenv("EXCHANGE_DATABASE_URL", url)
    opened = listeners("127.0.0.1", 0, 2)

    async def run() -> bool:
        supervisor = Supervisor(opened, {}, None, str(tmp_path))
        supervisor._stop()
        return await supervisor.run()

    assert asyncio.run(run())
    assert [one.fileno() for one in opened] == [-1, -1]


def test_workers_that_can_share_nothing_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))

    with pytest.raises(NoTemporaryFolder, match="No such file"):
        supervise((), {}, has_cursor_secret=True)


def test_sqlite_is_served_by_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite_url: str
) -> None:
    line = CommandLine(monkeypatch, capsys, sqlite_url)

    told = line.refused(2, "serve", "--port", "0", "--workers", "2")

    assert "served by one process" in told
    assert "Leave out --workers" in told


def test_a_port_of_another_is_not_shared_in_silence() -> None:
    first = listeners("127.0.0.1", 0, 2)
    host, port = first[0].getsockname()
    with first[0], first[1], pytest.raises(CannotListen):
        listeners(host, port, 2)


def test_who_is_gone_is_told_nothing_and_says_nothing_more() -> None:
    async def talk() -> list[Any]:
        ours, theirs = socket.socketpair()
        channel = await Channel.over(ours)
        theirs.sendall(b'["ready"]\n["told"')
        theirs.close()
        heard = [word async for word, _ in channel.heard()]
        await channel.close()
        channel.say(Word.STOP)
        return heard

    assert asyncio.run(talk()) == [Word.READY]

"""Requests that are wrong on the wire, sent to the real server byte for byte: refused, never a 500, and nothing is recorded."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import orjson
import pytest
from commandline import process
from doors import application
from exchanges import Dump, Exchange, a_uscc

from exchange.access.callers import secret_hash, written_secret
from exchange.access.commands import CreateKey
from exchange.access.tables import Role
from exchange.api.bodies import BODY_LIMIT

MARK = b"MARK7391"
BODY = orjson.dumps(application())
KEY = b"on-the-wire"


@dataclass(frozen=True, slots=True)
class Wire:
    """The server's address, a key for it, and the exchange behind."""

    place: Exchange
    port: int
    secret: bytes

    def send(self, *parts: bytes, hang_up: bool = False) -> list[bytes]:
        """Send bytes as they are; give all answers until the server closes the connection, or has nothing more to say."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            received = b""
            # The server may have answered and closed before all is sent.
            with suppress(OSError):
                for part in parts:
                    connection.sendall(part)
                if hang_up:
                    connection.shutdown(socket.SHUT_WR)
            with suppress(TimeoutError, ConnectionResetError):
                while piece := connection.recv(65_536):
                    received += piece
                    connection.settimeout(0.3)
        return re.split(rb"(?=HTTP/1\.1 [1-5]\d\d )", received)[1:]

    def head(self, *lines: bytes, start: bytes = b"POST /v1/members HTTP/1.1", key: bytes = KEY) -> bytes:
        """Write the head of a request."""
        own = (b"Host: exchange", b"Authorization: Bearer " + self.secret, b"Content-Type: application/json")
        return b"\r\n".join((start, *own, b"Idempotency-Key: " + key, *lines, b"", b""))


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("wire") / "exchange.db"
        path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        yield f"sqlite:///{path}"
        return
    running = request.getfixturevalue("postgres")
    running.create_database("wire", "exchange_template")
    yield running.url("wire")
    running.drop_database("wire")


@pytest.fixture(scope="module")
def wire(url: str) -> Iterator[Wire]:
    secret = written_secret(b"w" * 32)
    digest = secret_hash(secret)
    assert digest is not None
    with Exchange.at(url) as place:
        place.do(CreateKey(Role.MEMBER, "Zhang", digest, a_uscc(77)), place.operator())
        with process("serve", "--port", "0", env=os.environ | {"EXCHANGE_DATABASE_URL": url}) as server:
            assert server.stdout is not None
            found = re.search(r"http://[^:]+:(\d+)", server.stdout.readline())
            assert found
            try:
                yield Wire(place, int(found[1]), secret.encode())
            finally:
                server.terminate()
                server.wait()


@pytest.fixture(scope="module")
def before(wire: Wire) -> Dump:
    return wire.place.dump()


def length(number: int) -> bytes:
    return b"Content-Length: %d" % number


CHUNKED = b"Transfer-Encoding: chunked"

NOT_HTTP = {
    "no start": [b"MARK7391\r\n\r\n"],
    "another version": [b"POST /v1/members HTTP/9.9\r\nHost: exchange\r\n\r\n"],
    "a method in small letters": [b"post /v1/members HTTP/1.1\r\nHost: exchange\r\n\r\n"],
    "a method of its own": [b"MARK7391 /v1/members HTTP/1.1\r\nHost: exchange\r\n\r\n"],
    "TLS": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    "NULs": [b"\x00" * 100],
    "a tunnel": [b"CONNECT MARK7391.test:443 HTTP/1.1\r\nHost: MARK7391.test:443\r\n\r\n"],
    "a space in the path": [b"GET /v1/members MARK7391 HTTP/1.1\r\nHost: exchange\r\n\r\n"],
}
"""What is no request at all: the server itself refuses it."""


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_no_request_is_refused(wire: Wire, before: Dump, name: str) -> None:
    [answer] = wire.send(*NOT_HTTP[name], hang_up=True)

    assert answer.startswith(b"HTTP/1.1 400 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert orjson.loads(body)["type"] == "/problems/not-http"
    assert b"\r\nx-content-type-options: nosniff" in head
    assert b"\r\nserver:" not in head.lower()
    assert MARK not in answer
    assert wire.place.dump() == before


HEADS = {
    "a negative length": [b"Content-Length: -1"],
    "a signed length": [b"Content-Length: +5"],
    "a hexadecimal length": [b"Content-Length: 0x10"],
    "a length of 400 digits": [b"Content-Length: " + b"9" * 400],
    "two lengths": [length(len(BODY)), length(5)],
    "a length and chunks": [length(len(BODY)), CHUNKED],
    "chunks and more": [b"Transfer-Encoding: chunked, identity"],
    "a key with a line end in it": [b"X-Folded: a\r\nMARK7391 folded"],
    "a NUL in a header": [b"X-Nul: a\x00MARK7391"],
    "a bare CR in a header": [b"X-Cr: a\rMARK7391: b"],
    "a header without a name": [b": MARK7391"],
    "a space before the colon": [b"X-Space : MARK7391"],
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_can_be_read_in_two_ways_is_refused(wire: Wire, before: Dump, name: str) -> None:
    answers = wire.send(wire.head(*HEADS[name]), BODY, hang_up=True)

    assert answers, name
    assert all(answer.startswith(b"HTTP/1.1 400 ") for answer in answers), answers
    assert not any(MARK in answer for answer in answers)
    assert wire.place.dump() == before


CUT = {
    "a body cut off": [length(len(BODY)), BODY[:-5]],
    "no body": [length(len(BODY)), b""],
    "a chunk cut off": [CHUNKED, b"%x\r\n" % len(BODY) + BODY[:-5]],
    "chunks without an end": [CHUNKED, b"%x\r\n" % len(BODY) + BODY + b"\r\n"],
    "a chunk of no size": [CHUNKED, b"MARK7391\r\n" + BODY + b"\r\n0\r\n\r\n"],
    "a chunk of a negative size": [CHUNKED, b"-5\r\n" + BODY + b"\r\n0\r\n\r\n"],
    "a chunk of a huge size": [CHUNKED, b"f" * 40 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"],
    "a chunk longer than it says": [CHUNKED, b"5\r\n" + BODY + b"\r\n0\r\n\r\n"],
}


@pytest.mark.parametrize("name", CUT)
def test_a_body_that_is_not_whole_is_not_read(wire: Wire, before: Dump, name: str) -> None:
    head, body = CUT[name]

    answers = wire.send(wire.head(head), body, hang_up=True)

    # Who has hung up is answered by nobody; the rest is told what is wrong.
    assert all(answer.startswith(b"HTTP/1.1 400 ") for answer in answers), answers
    assert wire.place.dump() == before


def test_a_body_longer_than_it_says_is_cut_where_it_says(wire: Wire, before: Dump) -> None:
    first, *rest = wire.send(wire.head(length(5)), BODY, hang_up=True)

    assert all(answer.startswith(b"HTTP/1.1 400 ") for answer in [first, *rest]), rest
    assert wire.place.dump() == before


LONG = BODY.ljust(BODY_LIMIT + 1)
TOO_LONG = {
    "at once": [length(len(LONG)), LONG],
    "in chunks": [CHUNKED, b"".join(b"1000\r\n" + b" " * 4_096 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"],
    "said, not sent": [length(10**12), b" " * (BODY_LIMIT + 1)],
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_body_is_read_no_further_than_its_limit(wire: Wire, before: Dump, name: str) -> None:
    head, body = TOO_LONG[name]

    answer, *_ = wire.send(wire.head(head), body)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "/problems/body-too-long"
    assert wire.place.dump() == before


READS = {
    "a path with a NUL": (b"/v1/members/mbr_000000000001%00", 404),
    "a path of dots": (b"/v1/members/%2e%2e/%2e%2e/etc/passwd", 404),
    "a path of dots, unescaped": (b"/v1/../../etc/passwd", 404),
    "files of dots": (b"/docs/assets/%2e%2e/%2e%2e/fastapi/__init__.py", 404),
    "an id with a slash": (b"/v1/members/mbr_0000000%2F00001", 404),
    "an id of full-width digits": (b"/v1/members/mbr_" + b"%EF%BC%91" * 12, 404),
    "an id of full-width digits, raw": ("/v1/members/mbr_１２３４５６７８９０１２".encode(), 400),
    "a path that is no UTF-8": (b"/v1/members/%ff%fe", 404),
    "a path that ends in a percent sign": (b"/v1/members/%", 404),
    "a path of 10,000 characters": (b"/v1/members/" + b"7" * 10_000, 404),
    "two slashes": (b"//v1/members", 404),
    "another host": (b"http://MARK7391.test/v1/nothing", 404),
    "a query of raw bytes": (b"/v1/members?uscc=\xe9", 400),
    "a query of 10,000 parameters": (b"/v1/members?" + b"a=1&" * 10_000, 400),
    "a method that is traced": (b"/v1/members", 405),
}


@pytest.mark.parametrize("name", READS)
def test_an_address_that_nothing_has_is_a_problem(wire: Wire, before: Dump, name: str) -> None:
    path, status = READS[name]
    method = b"TRACE" if status == 405 else b"GET"

    answer, *_ = wire.send(wire.head(b"Connection: close", start=method + b" " + path + b" HTTP/1.1"))

    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"application/problem+json" in answer
    assert MARK not in answer
    assert wire.place.dump() == before


def test_a_header_does_not_change_the_method(wire: Wire, before: Dump) -> None:
    names = (b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override")
    start = b"GET /v1/members?limit=1 HTTP/1.1"

    answer, *_ = wire.send(wire.head(*(name + b": POST" for name in names), b"Connection: close", start=start))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert wire.place.dump() == before


def test_a_good_request_passes_under_the_key_of_all_that_was_refused(wire: Wire, before: Dump) -> None:
    pieces = [b"1\r\n" + BODY[n : n + 1] + b"\r\n" for n in range(len(BODY))]

    answer, *_ = wire.send(wire.head(CHUNKED), *pieces, b"0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 201 "), answer
    assert b"idempotency-replayed" not in answer.lower()
    assert wire.place.dump() != before

"""What every request passes first and last."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from commandline import process
from doors import application, opened, refused
from exchanges import Exchange
from serving import a_secret, let_it_refuse, served
from starlette.datastructures import State

from exchange.access.tables import Role
from exchange.api.metrics import Metrics
from exchange.api.reception import Reception
from exchange.settings import Settings

Messages = list[dict[str, Any]]

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"1", "more_body": True}
END = {"type": "http.response.body", "body": b"2"}


class Broken(Exception):  # noqa: N818 - reads as what it is
    """What an application raises."""


def pass_through(answer: Messages) -> Messages:
    """Pass a request by the reception to an application that answers so far and breaks; give what is sent on."""
    sent: Messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in answer:
            await send(dict(message, headers=[]) if "headers" in message else message)
        raise Broken

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    state = State({"stopping": False})
    reception = Reception(app, {}, Metrics(), state, access_log=False)
    asyncio.run(reception({"type": "http", "method": "GET", "headers": []}, receive, send))
    return sent


@pytest.mark.parametrize("answer", [[], [START], [START, PART]])
def test_a_failure_before_the_answer_is_whole_is_passed_on(answer: Messages) -> None:
    with pytest.raises(Broken):
        pass_through(answer)


def test_a_failure_after_the_answer_is_not() -> None:
    assert [message["type"] for message in pass_through([START, PART, END])] == [
        "http.response.start",
        "http.response.body",
        "http.response.body",
    ]


def test_a_connection_lives_on_after_a_defect_that_is_told_once(sqlite_url: str, tmp_path: Path) -> None:
    with Exchange.at(sqlite_url) as place:
        operator = a_secret(place, Role.OPERATOR)
    let_it_refuse(sqlite_url, "unstorable")
    body = application() | {"group_parent_uscc": None, "contact": "unstorable"}
    headers = {"Authorization": f"Bearer {operator}", "Content-Type": "application/json", "Idempotency-Key": "one"}
    with served(sqlite_url, tmp_path) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            failed = client.post("/v1/members", content=orjson.dumps(body), headers=headers)
            first = failed.extensions["network_stream"].get_extra_info("client_addr")
            again = client.get("/livez")
            second = again.extensions["network_stream"].get_extra_info("client_addr")
        told = [line["event"] for line in server.lines() if line["level"] == "error"]

    assert (failed.status_code, again.status_code) == (500, 200)
    assert first == second
    assert told == ["The database refused a job", "A request failed"]


def test_requests_are_served_where_nobody_reads_the_log_any_more(sqlite_url: str) -> None:
    with process(
        *("serve", "--port", "0", "--log-level", "debug"),
        env=os.environ | {"EXCHANGE_DATABASE_URL": sqlite_url},
        stderr=subprocess.PIPE,
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            url = server.stdout.readline().split()[2]
            server.stderr.close()
            with httpx.Client(base_url=url, timeout=30) as client:
                answers = [client.get("/readyz") for _ in range(5)]
                connections = {one.extensions["network_stream"].get_extra_info("client_addr") for one in answers}
        finally:
            server.kill()

    assert [answer.status_code for answer in answers] == [200] * 5
    assert len(connections) == 1


HARMLESS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("method", "path", "status", "policy"),
    [
        ("GET", "/livez", 200, NOTHING),
        ("GET", "/v1/members", 401, NOTHING),
        ("GET", "/nowhere", 404, NOTHING),
        ("TRACE", "/v1/members", 405, NOTHING),
        ("GET", "/docs", 200, None),
        ("GET", "/docs/assets/swagger-ui.css", 200, NOTHING),
    ],
)
def test_every_answer_tells_browsers_to_do_nothing_with_it_and_no_page_of_others_what_it_says(
    sqlite_url: str, method: str, path: str, status: int, policy: str | None
) -> None:
    with opened(sqlite_url) as door:
        answer = door.ask(method, path, None, headers={"Origin": "https://other.example"})

        assert answer.status_code == status
        assert {name: answer.headers[name] for name in HARMLESS} == HARMLESS
        said = answer.headers.get_list("content-security-policy")
        assert len(said) == 1
        assert "frame-ancestors 'none'" in said[0]
        assert policy is None or said == [policy]
        assert not any(name.startswith("access-control-") for name in answer.headers)
        assert "server" not in answer.headers


def test_only_names_of_the_service_are_answered_and_probes_by_any(sqlite_url: str) -> None:
    named = Settings(database_url=sqlite_url, hosts="Exchange.example, [::1],localhost")
    with opened(sqlite_url, named) as door:

        def asked(*hosts: str, path: str = "/v1/members") -> httpx.Response:
            sent = [("Authorization", f"Bearer {door.operator}"), *(("Host", host) for host in hosts)]
            return door.wait(door.client.get(path, headers=sent))

        for host in ("exchange.example", "EXCHANGE.example:8443", "[::1]:8000", "localhost"):
            assert asked(host).status_code == 200, host
        for host in ("evil.example", "exchange.example.evil.example", "", "exchange.example@evil", "::1"):
            refused(asked(host), 400, "host-unknown")
        refused(asked("localhost", "evil.example"), 400, "host-unknown")
        assert asked("10.0.0.7:8000", path="/readyz").status_code == 200
    with opened(sqlite_url) as door:
        assert asked("evil.example").status_code == 200

"""What the document promises, tried by Schemathesis on the real server: every role, all of its checks, and stories along its links."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import schemathesis
from doors import OPERATIONS, Door, application, listed, opened, terms, version
from exchanges import Exchange, Party, a_sha256, a_uscc
from filled import live
from hypothesis import settings
from markets import assert_sound
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema
from schemathesis.hooks import unregister
from serving import a_secret, served
from stories import Cast
from telling import Told, limits_of, tell, tell_more

from exchange.access.tables import Role
from exchange.api.summary import known_at
from exchange.identifiers import Prefix, written_id
from exchange.problems import Problem
from exchange.texts import REFERENCE_LIMIT, text_fault

THOROUGH: Final = settings.get_current_profile_name() == "fuzz"
"""`make fuzz`: every operation for every role on both databases, other cases each time; else each operation for one of them in turn."""
EXAMPLES: Final = int(os.environ.get("EXCHANGE_SCHEMA_EXAMPLES", "10"))
"""How many cases are drawn for an operation, and half as many stories are told from each beginning, where it is thorough."""

NOBODY: Final = "nobody"
WHO: Final = (*Role, NOBODY)
DATABASES: Final = 2

ACTING_FOR: Final = "Exchange-Acting-For"
CHECKS: Final = {
    # What the document calls good can be read (no 400, no 415), but a rule of the business that no schema can say may refuse it
    # (422: the net and the tax are not the gross), or what it looked at has changed since (412).
    "positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "412", "422"]},
}
"""All checks are on; where one asks otherwise than by itself, and why."""

schemathesis.serializer.alias("application/x-ndjson", "text/plain")


def readable(query: dict[str, Any], who: str) -> dict[str, Any]:
    """Take out of a good query what no schema can say: a cursor is good if it was given, a text if it is seen, a day if there is one."""
    kept = {}
    for name, value in query.items():
        unsaid = name == "cursor" or (name == "seen" and query.get("after", "0") == "0")
        unsaid |= name in ({"person", "leaves"} if who == Role.MEMBER else {"side"})
        unsaid |= name == "known_at" and not _is_moment(str(value))
        if not unsaid:
            kept[name] = "数据" if isinstance(value, str) and text_fault(value, REFERENCE_LIMIT) else value
    return kept


def _is_moment(text: str) -> bool:
    try:
        known_at(text)
    except Problem:
        return False
    return True


def openings(place: Exchange, by: Party) -> dict[str, Callable[[int], dict[str, Any]]]:
    """Give bodies with which stories begin: no drawn one has a code with its check digit, or amounts that add up."""
    offer = place.a_listing()
    _, version_id = place.a_version(by)
    drawn = {"version_id": written_id(Prefix.VERSION, version_id), "price_model": "negotiable", "vat_rate_bp": 600}
    return {
        "apply_for_membership": lambda number: application() | {"uscc": a_uscc(100_000 + number)},
        "register_product": lambda number: {"code": f"HN-{number}", "kind": "dataset"},
        "describe_version": lambda _: version(),
        "draft_listing": lambda _: drawn,
        "create_trade": lambda _: listed(offer),
        "file_trade": lambda number: (
            terms(offer, f"HT-{number}") | {"effective_on": "2026-03-02", "evidence": [a_sha256(number)]}
        ),
    }


@contextmanager
def completed(who: str, numbers: Iterator[int], openings: dict[str, Callable[[int], dict[str, Any]]]) -> Iterator[None]:
    """Have requests completed: a new key for each write, and each from another address, as wrong keys slow their address down."""

    @schemathesis.hook
    def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
        number = next(numbers)
        case.headers["X-Forwarded-For"] = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        if case.meta is None or not case.meta.is_negative_at(ParameterLocation.HEADER):
            case.headers["Idempotency-Key"] = f"case-{number}"
            # No pattern has a check digit, and staff acts for nobody.
            if case.headers.pop(ACTING_FOR, None) is not None and who == Role.MEMBER:
                case.headers[ACTING_FOR] = a_uscc(number % 7)
        if case.query and (case.meta is None or not case.meta.is_negative_at(ParameterLocation.QUERY)):
            case.query = readable(dict(case.query), who)
        opening = openings.get(case.operation.definition.raw["operationId"])
        if opening and case.meta and case.meta.generation.mode.is_positive and number % 4:
            case.body, case.media_type, case.query = opening(number), "application/json", {}
            case.headers.pop("If-Match", None)

    yield
    unregister(before_call)


def config(url: str, who: str, secret: str | None, database: int) -> schemathesis.Config:
    """Say what is tried: good and bad cases, systematic ones and drawn ones. Stories along the links are told by themselves."""
    said: dict[str, Any] = {
        "base-url": url,
        "checks": CHECKS,
        "continue-on-failure": True,
        "generation": {
            "max-examples": EXAMPLES if THOROUGH else 1,
            "deterministic": not THOROUGH,
            "no-shrink": True,
            "database": "none",
        },
        "phases": {"stateful": {"enabled": False}},
    }
    if secret is not None:
        said["auth"] = {"openapi": {"key": {"bearer": secret}}}
    if not THOROUGH:
        said["phases"]["examples"] = {"enabled": False}
        others = [name for name in OPERATIONS if name not in share(who, database)]
        off = {"coverage": {"enabled": False}, "fuzzing": {"enabled": False}}
        said["operations"] = [{"include-operation-id": others, "phases": off}]
    return schemathesis.Config.from_dict(said)


def told_of(url: str, door: Door, database: int) -> Told:
    """Tell stories along the links of the document to a server."""
    said = {
        "base-url": url,
        "checks": CHECKS,
        "generation": {"mode": "positive", "database": "none"},
        # The document's own links, and none that might be guessed.
        "phases": {"stateful": {"inference": {"algorithms": []}}},
    }
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=schemathesis.Config.from_dict(said))
    door.place.now = datetime.now(UTC)
    told, cast = Told(), Cast(door)
    if THOROUGH:
        tell(schema, cast, told, limits_of(max(2, EXAMPLES // 2), 12, derandomize=False), one_of=1, which=0)
        # The first story of each run is the simplest, always the same.
        tell_more(schema, cast, told, limits_of(6, 6, derandomize=False), rounds=10)
    else:
        tell(schema, cast, told, limits_of(1, 6, derandomize=True), one_of=DATABASES, which=database)
    return told


def share(who: str, database: int) -> set[str]:
    """Deal the operations out between the databases, and there to one after another of those whom each is for."""
    mine = set()
    for number, (name, (_, _, said)) in enumerate(OPERATIONS.items()):
        allowed = [one for one in WHO if one in said["description"]] or [NOBODY]
        if number % DATABASES == database and allowed[number // DATABASES % len(allowed)] == who:
            mine.add(name)
    return mine


def test_every_operation_is_tried_at_least_once() -> None:
    shares = [share(who, database) for who in WHO for database in range(DATABASES)]

    assert sum(map(len, shares)) == len(OPERATIONS)
    assert all(share(who, 0) | share(who, 1) for who in WHO)


def failures(schema: schemathesis.BaseSchema, statuses: Counter[int]) -> Iterator[str]:
    """Run it; say what fails, with the request that shows it."""
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            recorder = event.recorder
            statuses.update(one.response.status_code for one in recorder.interactions.values() if one.response)
            for id_, checks in recorder.checks.items():
                for check in checks:
                    if (info := check.failure_info) is not None:
                        answer = recorder.interactions[id_].response
                        said = "" if answer is None else f"{answer.status_code} {answer.text[:500]}"
                        yield f"{check.name}: {info.failure}\n{info.code_sample}\n{said}"
        elif isinstance(event, events.NonFatalError | events.FatalError):
            yield str(event)


def test_every_role_gets_what_the_document_promises(database_url: str, tmp_path: Path) -> None:
    database = int(database_url.startswith("postgres"))
    numbers, statuses, found = count(1), {who: Counter[int]() for who in WHO}, []
    with opened(database_url) as door:
        place = door.place
        live(place)
        place.now = datetime.now(UTC)
        member = place.a_member()
        first = openings(place, member)
        secrets = {role: a_secret(place, role, role, member.uscc if role is Role.MEMBER else None) for role in Role}
        with served(database_url, tmp_path, rate_per_key="0", rate_per_address="0", access_log="false") as server:
            for who in WHO:
                secret = secrets.get(Role(who)) if who != NOBODY else None
                schema = schemathesis.openapi.from_url(
                    f"{server.url}/openapi.json", config=config(server.url, who, secret, database)
                )
                with completed(who, numbers, first):
                    found += [f"{who}: {one}" for one in failures(schema, statuses[who])]
                headers = {"Authorization": f"Bearer {secret}"}
                answer = httpx.get(f"{server.url}/v1/members", headers=headers)
                assert answer.status_code == (401 if secret is None else 200), "its key has been revoked meanwhile"
            told = told_of(server.url, door, database)
        assert_sound(place)

    seen = sum([*statuses.values(), told.statuses], Counter[int]())
    sys.stdout.write(f"{seen.total()} cases; by status: {dict(sorted(seen.items()))}\n")
    sys.stdout.write(f"by role: { {who: counted.total() for who, counted in statuses.items()} }\n")
    sys.stdout.write("".join(f"{line}\n" for line in told.lines()))
    found += told.failures
    assert not found, "\n\n".join(found)
    assert not {status for status in seen if status >= 500}
    assert {200, 201, 400, 401, 403, 404, 409, 415, 422} <= set(seen)
    assert told.followed.total() > len(told.links) / 4, "the links are hardly followed"
    assert told.accepted.total() > told.followed.total() / 3, "what follows is hardly accepted"
    assert not (THOROUGH and told.never_accepted), told.never_accepted

"""Each link of the document, followed once: what the first answers is found where the link says, and with it the second is accepted."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

import httpx
import schemathesis
from doors import DOCUMENT, WRITES, Door
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation.stateful.state_machine import StepOutput
from schemathesis.specs.openapi.stateful.links import OpenApiLink
from stories import ASKED, BEFORE, REJECTION, Cast, body_of

from exchange.api.links import NEXT


def operation_of(operation: Any) -> str:
    """Give the name of an operation in the document."""
    name: str = operation.definition.raw["operationId"]
    return name


def links() -> list[OpenApiLink]:
    """Read all links of the document."""
    found = []
    for result in schemathesis.openapi.from_dict(deepcopy(DOCUMENT)).get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        for status, response in operation.responses.items():
            found += [OpenApiLink(name, status, said, operation) for name, said in response.iter_links()]
    return found


LINKS: Final = links()


def names(link: OpenApiLink) -> tuple[str, str]:
    return operation_of(link.source), operation_of(link.target)


def follow(door: Door, cast: Cast, link: OpenApiLink) -> None:
    """Have the first answer what the link is for, and take from it what the link says; the second must accept it."""
    source, target = names(link)
    wish = BEFORE.get((source, target), WRITES[source])(door)
    if (source, link.status_code) == ("terminate_trade", "200"):
        wish = replace(wish, by=door.operator)
    first = door.ask(wish.method, wish.path, wish.by, wish.body)
    assert first.status_code == int(link.status_code), first.text
    link.source.validate_response(first)

    id_ = taken(link, first)
    body = REJECTION if (source, target) == ("file_trade", "review_filing") else body_of(target)
    after = link.target.Case(path_parameters={"id": id_})
    second = door.ask(
        after.method,
        after.formatted_path,
        cast.key(target, id_),
        body,
        headers=cast.headers(target, id_),
        **ASKED.get(target, {}),
    )
    assert second.is_success, second.text
    link.target.validate_response(second)


def taken(link: OpenApiLink, answer: httpx.Response) -> str:
    """Take from an answer what the link says: an id, for the path."""
    found = link.extract(StepOutput(Response.from_any(answer), link.source.Case()))
    assert found.request_body is None
    [(place, values)] = found.parameters.items()
    [(name, extracted)] = values.items()
    assert (place, name) == ("path_parameters", "id")
    assert isinstance(extracted.value, Ok), extracted.definition
    id_ = extracted.value.ok()
    assert isinstance(id_, str), f"nothing is where {extracted.definition} says"
    return id_


def test_each_link_is_one_that_is_said_to_come_next() -> None:
    assert {names(link) for link in LINKS} == {(source, target) for source in NEXT for target in NEXT[source]}


def test_what_decides_on_a_proposal_follows_on_an_answer_that_is_one_alone() -> None:
    statuses = [link.status_code for link in LINKS if names(link) == ("terminate_trade", "approve_termination")]

    assert statuses == ["202"]


def test_each_link_of_the_document_leads_to_what_is_accepted(sqlite_door: Door) -> None:
    cast, broken = Cast(sqlite_door), []
    for link in LINKS:
        try:
            follow(sqlite_door, cast, link)
        except (AssertionError, FailureGroup) as why:
            broken.append(f"{link.full_name}: {why}")

    assert not broken, "\n".join(broken)

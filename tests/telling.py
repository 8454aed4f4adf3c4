"""Stories along the document's links, drawn by Hypothesis, told to a real server: each step by somebody who may take it, with what it needs."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.generation.stateful.control import TransitionController
from schemathesis.generation.stateful.state_machine import StepInput, StepOutput
from stories import ASKED, Cast, beginning, continuation

AUTHORIZATION: Final = "Authorization"


class Told:
    """What came of all stories."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.followed: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.links: set[str] = set()
        self.failures: list[str] = []

    def add(self, link: str | None, status: int) -> None:
        """Note an answer, and after which link."""
        self.statuses[status] += 1
        if link is not None:
            self.followed[link] += 1
            self.accepted[link] += 200 <= status < 300

    @property
    def never_accepted(self) -> list[str]:
        """Name the links that never led to what was accepted."""
        return sorted(link for link in self.links if not self.accepted[link])

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        total, accepted = self.followed.total(), self.accepted.total()
        yield f"{total} links followed, {accepted} of them accepted; by status: {dict(sorted(self.statuses.items()))}"
        for link in sorted(self.links):
            yield f"  {self.followed[link]:5} followed, {self.accepted[link]:5} accepted: {link}"


class Onward(TransitionController):
    """Goes on while there is a link to follow that was not followed yet, and begins anew where there is none, at one operation.

    By itself the machine takes most POSTs for beginnings, with ids out of thin air, and each may be taken twice before a story must go on.
    """

    first: str

    def allow_root_transition(self, source: str, bundles: Any) -> bool:
        """Tell whether a story may begin here now."""
        return source == self.first and not any(
            bundles.get(bundle_of(link)) and self.allow_transition(link.source.label, link.target.label)
            for operation in self.transitions.operations.values()
            for link in operation.incoming
        )


def bundle_of(link: Any) -> str:
    """Name the answers after which a link can be followed."""
    return f"{link.source.label} -> {link.status_code}"


def name_of(case: Case[Any]) -> str:
    """Give the name of an operation in the document."""
    name: str = case.operation.definition.raw["operationId"]
    return name


def machine(schema: schemathesis.BaseSchema, cast: Cast, told: Told) -> type[Any]:
    """Make the machine that tells stories. Each operation that leads on can begin one, also that whose body names what there must be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("schemathesis.specs.openapi.stateful.is_likely_root_transition", lambda *_: True)
        made = schema.as_state_machine()

    class Story(made):  # type: ignore[misc, valid-type]  # made for this document
        first = ""

        def __init__(self) -> None:
            super().__init__()
            self.number = 0
            self.link: str | None = None
            self.control = Onward(self._transitions, self._root_labels)
            self.control.first, self.control.max_operations_per_source = self.first, 1

        def step(self, input: StepInput) -> StepOutput:  # noqa: A002 - so it is called
            self.number += 1
            equip(input, self.number, cast)
            self.link = input.transition.id if input.transition and input.is_applied else None
            output: StepOutput = super().step(input)
            return output

        def after_call(self, response: Response, case: Case[Any]) -> None:
            super().after_call(response, case)
            told.add(self.link, response.status_code)

        def validate_response(self, response: Response, case: Case[Any], *_: Any, **__: Any) -> None:
            # What is sent by intention is named, for the header of a key is else taken for a drawn one.
            key = {AUTHORIZATION: case.headers[AUTHORIZATION]}
            try:
                case.validate_response(response, headers=key, recorder=self.recorder)
            except FailureGroup as group:
                told.failures.append(
                    f"{self.link or 'beginning'}: {group}\n{response.status_code} {response.text[:500]}"
                )

    return Story


def tell(schema: schemathesis.BaseSchema, cast: Cast, told: Told, limits: settings, *, one_of: int, which: int) -> None:
    """Tell stories from each beginning, or from one of so many."""
    story = machine(schema, cast, told)
    transitions = story._transitions.operations
    told.links |= {link.full_name for one in transitions.values() for link in one.outgoing}
    assert story._root_labels == {label for label, one in transitions.items() if one.outgoing}
    _from(story, sorted(story._root_labels)[which::one_of], limits)


def tell_more(schema: schemathesis.BaseSchema, cast: Cast, told: Told, limits: settings, rounds: int) -> None:
    """Tell more stories from the beginnings whose links never led to what was accepted."""
    story = machine(schema, cast, told)
    for _ in range(rounds):
        _from(story, sorted({link.partition(" -> ")[0] for link in told.never_accepted}), limits)


def limits_of(stories: int, steps: int, *, derandomize: bool) -> settings:
    """Say how many stories are told from a beginning, and how long they are."""
    return settings(
        max_examples=stories,
        stateful_step_count=steps,
        derandomize=derandomize,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def _from(story: type[Any], beginnings: list[str], limits: settings) -> None:
    for first in beginnings:
        story.first = first
        story.run(settings=limits)


def equip(step: StepInput, number: int, cast: Cast) -> None:
    """Give the step of that number what makes it one of a story: a key of who may take it, a good body, the state that was seen.

    All of it hangs on what was drawn and on what was answered before, so that the same draws tell the same story.
    """
    case = step.case
    operation, drawn = name_of(case), case.body if isinstance(case.body, dict) else {}
    cast.door.place.now = datetime.now(UTC)
    if step.transition is None:
        wish = beginning(cast.door, operation, drawn)
        by, body = wish.by, wish.body
        if found := re.search("[a-z]{3}_[0-9]{12}", wish.path):
            case.path_parameters = {"id": found[0]}
    else:
        by, body = continuation(cast, operation, id_of(case), drawn)
    case.query = dict(ASKED.get(operation, {}))
    case.headers.clear()
    case.headers.update(cast.headers(operation, id_of(case)))
    case.headers["Idempotency-Key"] = f"story-{next(cast.numbers)}"
    case.headers[AUTHORIZATION] = f"Bearer {cast.strangers.get(number, by)}"
    if body is not None:
        case.body, case.media_type = body, "application/json"


def id_of(case: Case[Any]) -> str:
    """Give the id in a path; of what has none, nothing."""
    return str((case.path_parameters or {}).get("id", ""))

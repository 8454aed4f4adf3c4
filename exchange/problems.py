"""What can be wrong with a request: the kinds of refusal, from which every feature derives its own.

    Problem
    ├── Malformed             the request cannot be read                     400
    ├── Unauthenticated       nobody that we know is asking                  401
    ├── Forbidden             somebody else may do this                      403
    ├── NotFound              there is none, or the caller may not see it    404
    ├── TooSlow               the request did not arrive in time             408
    ├── Conflict              the state of things does not allow it          409
    ├── PreconditionFailed    it has changed since the caller looked         412
    ├── TooLarge              the body is longer than allowed                413
    ├── UnsupportedMedia      the body is of another type than allowed       415
    ├── Invalid               a rule about the values is broken              422
    ├── TooOften              who asks has asked too often                   429
    └── Unavailable           not now; the same request may pass later       503

The class is the type, its docstring the title, its text the detail; `remedy` says what to do. Doors map the kinds to a status or an exit code.
"""

import re
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One field that breaks a rule: its JSON pointer, and the rule with its remedy in words. Never the input itself."""

    pointer: str
    rule: str


class Problem(Exception):  # noqa: N818 - a refusal is a regular answer, not an error of the program
    """The request was refused."""

    remedy: ClassVar[str] = ""

    def __init__(self, detail: str = "", *faults: Fault) -> None:
        """Take the text for the reader and the fields at fault."""
        super().__init__(detail)
        self.detail = detail
        self.faults = faults
        self.index = 0
        """Which of a job's commands it refused."""

    @classmethod
    def type_name(cls) -> str:
        """Give the stable name of this type of problem, e.g. `listing-not-tradable`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def title(cls) -> str:
        """Give the first line of the docstring: the same for every occurrence."""
        return (cls.__doc__ or "").strip().splitlines()[0]


def problem_types(kind: type[Problem] = Problem) -> dict[str, type[Problem]]:
    """Find every type of problem that is loaded, by its name: each that this process can give."""
    found = {} if kind is Problem else {kind.type_name(): kind}
    for sub in kind.__subclasses__():
        found |= problem_types(sub)
    return found


class Malformed(Problem):
    """The request cannot be read."""


class Unauthenticated(Problem):
    """The API key is missing, unknown or revoked."""

    remedy = "Send a valid key: `Authorization: Bearer exk_…` (the command line reads EXCHANGE_KEY)."


class Forbidden(Problem):
    """Somebody else may do this."""

    remedy = "Use a key of a role that does."


class NotFound(Problem):
    """There is no such thing, or it is not yours to see."""

    remedy = "Check the id."


def unseen() -> NotFound:
    """Give the one refusal for what there is not and for what the caller may not see: nobody can tell which it was."""
    return NotFound("There is no such thing here, or it is not yours to see.")


class TooSlow(Problem):
    """The request did not arrive in time."""


class Conflict(Problem):
    """The state of things does not allow this."""


class PreconditionFailed(Problem):
    """It has changed since you looked."""

    remedy = "Read it again and decide anew."


class TooLarge(Problem):
    """The body is longer than allowed."""


class UnsupportedMedia(Problem):
    """The body is not of the type that is needed."""


class Invalid(Problem):
    """A value breaks a rule."""


class TooOften(Problem):
    """Too many requests came from here."""

    remedy = "Wait for as many seconds as `Retry-After` says."

    def __init__(self, detail: str = "", policy: str = "", limit: int = 0, window_s: int = 60, wait_s: int = 1) -> None:
        """Take what was counted, how many are allowed in how many seconds, and in how many it can be tried again."""
        super().__init__(detail)
        self.policy = policy
        self.limit = limit
        self.window_s = window_s
        self.wait_s = wait_s


class Unavailable(Problem):
    """The service cannot take this now."""

    remedy = "Send the same request with the same key again in a few seconds."
    retry_after_s: int = 1

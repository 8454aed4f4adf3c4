"""What must hold of mandates, and of who acts under them."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from exchange.agents.tables import Mandate, MandateState, MandateStep
from exchange.problems import Conflict, Fault, Forbidden, Invalid

LONGEST_DAYS: Final = 3 * 366


class MandateWrong(Invalid):
    """The mandate cannot be given like this."""

    remedy = "Name at least one step, each once, and a last day within three years."


class AgentWrong(Invalid):
    """The agent is not named as it must be."""

    remedy = "Name another company that is an active member with the role `service_org`."


class MandateEnded(Conflict):
    """The mandate has been ended already."""

    remedy = "Nothing is left to do: nobody acts under it any more."


class NoMandate(Forbidden):
    """You hold no mandate of this company that is in force."""

    remedy = "Ask the company to give you one, or leave `Exchange-Acting-For` out to act for yourself."


class StepNotMandated(Forbidden):
    """The mandate does not cover this step."""

    remedy = "Have the company do it itself, or ask it for a mandate with this step where there is one."


class MandateRests(Forbidden):
    """A mandate rests while one of the two is not an active member."""

    remedy = "Wait until both are active members again."


class AgentInvolved(Forbidden):
    """An agent does not act for a member in a trade with itself or its own group."""

    remedy = "Have the company act itself, or by an agent that has no part in the trade."


class AgentOfBoth(Conflict):
    """An agent does not act in a trade whose other party has authorised it, too."""

    remedy = "Have the company act itself, or by an agent that the other party has not authorised since the trade was proposed."


def check_steps(steps: Sequence[MandateStep]) -> None:
    """Check what an agent is to be authorised for. Raises MandateWrong."""
    if not steps or len(set(steps)) != len(steps):
        raise MandateWrong("The steps break a rule.", Fault("/steps", "must name at least one step, and each once"))


def check_end(today: date, ends_on: date) -> None:
    """Check the last day of a mandate that is given today. Raises MandateWrong."""
    longest = today + timedelta(days=LONGEST_DAYS)
    if not today <= ends_on <= longest:
        raise MandateWrong("The last day breaks a rule.", Fault("/ends_on", f"must lie between {today} and {longest}"))


def held_since(mandate: Mandate, position: int, day: date) -> bool:
    """Tell whether a mandate has been in force at any time since a position of the journal, on that business day."""
    return day <= mandate.ends_on and (mandate.state is MandateState.ACTIVE or mandate.changed_at > position)


def in_force(mandate: Mandate, day: date) -> bool:
    """Tell whether a mandate holds on a business day."""
    return mandate.state is MandateState.ACTIVE and day <= mandate.ends_on

"""Erasing personal data from the command line."""

from typing import Annotated

import typer

from exchange.cli.running import console, desk, wait
from exchange.identifiers import MemberId, PersonId, Prefix, read_id
from exchange.journal.commands import Command
from exchange.members.personal import EraseMemberData, ErasePerson
from exchange.problems import Fault, Invalid


class NobodyNamed(Invalid):
    """That is nobody whose data could be erased."""

    remedy = "Give the id of a person, as prs_000000000042, or of a member, as mbr_000000000042."


def _erasure(who: str, reason: str) -> Command:
    person, member = read_id(Prefix.PERSON, who), read_id(Prefix.MEMBER, who)
    if person is not None:
        return ErasePerson(PersonId(person), reason)
    if member is not None:
        return EraseMemberData(MemberId(member), reason)
    raise NobodyNamed("It is the id of neither.", Fault("/who", "must begin with prs_ or mbr_"))


def erase(
    who: Annotated[str, typer.Argument(help="A person, as prs_000000000042, or a member, as mbr_000000000042.")],
    reason: Annotated[str, typer.Option(help="Why; the log keeps it.")],
) -> None:
    """Erase a person's name, or a member's legal representative and contact. What was done stays, under the number.

    Example: exchange erase prs_000000000042 --reason 本人要求删除
    """
    command = _erasure(who, reason)

    async def work() -> None:
        async with desk() as place:
            await place.do(command, await place.caller())

    wait(work())
    console.print(f"{who} is erased.")

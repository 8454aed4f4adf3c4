"""The integrity figure: every invariant of every feature, with what was checked. `exchange verify` and the property tests use the same."""

from collections.abc import Iterator
from typing import Final

from sqlmodel import Session

from exchange.access.invariants import INVARIANTS as ACCESS
from exchange.agents.invariants import INVARIANTS as AGENTS
from exchange.journal.invariants import INVARIANTS as JOURNAL
from exchange.journal.invariants import Finding, Invariant
from exchange.ledger.invariants import INVARIANTS as LEDGER
from exchange.listings.invariants import INVARIANTS as LISTINGS
from exchange.members.invariants import INVARIANTS as MEMBERS
from exchange.trades.invariants import INVARIANTS as TRADES
from exchange.volume.invariants import INVARIANTS as VOLUME

INVARIANTS: Final[list[Invariant]] = [*LEDGER, *VOLUME, *TRADES, *JOURNAL, *MEMBERS, *LISTINGS, *ACCESS, *AGENTS]


def findings(session: Session) -> Iterator[Finding]:
    """Check one invariant after the other, so that progress can be shown."""
    for invariant in INVARIANTS:
        yield invariant.find(session)


def check(session: Session) -> list[Finding]:
    """Check all invariants on one snapshot."""
    return list(findings(session))

"""What must be true of mandates."""

from typing import Final

from exchange.agents.tables import Mandate
from exchange.journal.invariants import Invariant, none_of

INVARIANTS: Final = [
    Invariant(
        "G1",
        "A mandate names the codes of the two memberships between which it was given.",
        none_of(
            f"SELECT count(*) FROM {Mandate.__tablename__}",
            "SELECT mandate.id AS mandate FROM mandate "
            "JOIN member AS principal ON principal.id = mandate.principal_id "
            "JOIN member AS agent ON agent.id = mandate.agent_id "
            "WHERE principal.uscc <> mandate.principal_uscc OR agent.uscc <> mandate.agent_uscc",
        ),
    ),
]

"""The event of an accepted command: the audit log's leaf, in its final form.

A leaf is RFC 8785 canonical JSON: fixed ASCII keys; strings, null, integers up to 2^53−1, arrays and objects of them, at most 8 KiB.
`rows` are the business rows that the command inserted (all columns that are not null) and changed (key and new values), so that folding
the leaves in order rebuilds every table. Of each party there is only a commitment, which the member and auditors can open.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from exchange.clock import instant_text
from exchange.identifiers import MemberId
from exchange.journal.callers import Caller
from exchange.problems import Invalid

SCHEMA_VERSION: Final = 1
LEAF_LIMIT: Final = 8 * 1024
SALT_LENGTH: Final = 16
NONCE_LENGTH: Final = 16


class TooMuchText(Invalid):
    """The texts of this request are too long to be recorded together."""

    remedy = "Shorten the longest texts; their documents can be cited by SHA-256."


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What a command tells: the rest is added by the batch."""

    kind: str
    parties: tuple[MemberId, ...]
    acting: MemberId | None
    facts: dict[str, object]


def canonical(value: object) -> bytes:
    """Write RFC 8785 canonical JSON of what leaves may hold: with ASCII keys and no floats, sorted compact JSON is just that."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf as RFC 6962 does."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def party_commitment(nonce: bytes, member_id: MemberId, number: int) -> str:
    """Commit to "this is event `number` of this member": SHA-256(nonce ‖ member ‖ number), both as 8 bytes, big end first."""
    return hashlib.sha256(nonce + member_id.to_bytes(8, "big") + number.to_bytes(8, "big")).hexdigest()


def value_commitment(salt: bytes, value: str) -> str:
    """Commit to a personal value: SHA-256(salt ‖ value in UTF-8). Erasing the salt with the value leaves a number that says nothing."""
    return hashlib.sha256(salt + value.encode()).hexdigest()


def leaf_of(  # noqa: PLR0913 - the parts of a leaf
    event: NewEvent,
    *,
    position: int,
    recorded_at: str,
    caller: Caller,
    request_id: str | None,
    salt: bytes,
    commitments: list[str],
    rows: list[tuple[str, dict[str, Any]]],
) -> bytes:
    """Write the leaf of an event; TooMuchText where it would be longer than a leaf may be."""
    leaf = canonical(
        {
            "v": SCHEMA_VERSION,
            "salt": salt.hex(),
            "position": position,
            "recorded_at": recorded_at,
            "kind": event.kind,
            "actor": caller.person_id if caller.person_id is not None else caller.role,
            "key_id": caller.key_id,
            "acting_member": event.acting,
            "request_id": request_id,
            "parties": commitments,
            "facts": event.facts,
            "rows": rows,
        }
    )
    if len(leaf) > LEAF_LIMIT:
        raise TooMuchText(f"The record of this request would take {len(leaf)} bytes; {LEAF_LIMIT} are the limit.")
    return leaf


GENESIS_AT: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
GENESIS_KIND: Final = "genesis"


def genesis_leaf() -> bytes:
    """Write the leaf at position 1: the same bytes in every exchange."""
    return leaf_of(
        NewEvent(GENESIS_KIND, (), None, {}),
        position=1,
        recorded_at=instant_text(GENESIS_AT),
        caller=Caller.SYSTEM,
        request_id=None,
        salt=bytes(SALT_LENGTH),
        commitments=[],
        rows=[],
    )


Chance = Callable[[int], bytes]
"""A source of so many random bytes."""

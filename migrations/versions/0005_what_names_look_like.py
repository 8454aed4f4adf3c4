"""Looks: what the names of members look like is kept among what they are found by."""

import json
import unicodedata
from importlib.resources import files

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LOOK = "\x01"


def upgrade() -> None:
    connection = op.get_bind()
    names = connection.execute(
        sa.text(
            "SELECT id, legal_name AS name FROM member UNION SELECT id, short_name FROM member "
            "UNION SELECT member_id, value FROM member_history WHERE fact = 'name'"
        )
    ).all()
    stands_for = _prototypes() if names else {}
    looks = sorted({(look, number) for number, name in names for look in _looks(stands_for, name)})
    table = sa.table("member_term", sa.column("term"), sa.column("member_id"))
    op.bulk_insert(table, [{"term": LOOK + look, "member_id": number} for look, number in looks])


def downgrade() -> None:
    op.get_bind().execute(
        sa.text("DELETE FROM member_term WHERE term >= :first AND term < :end"), {"first": LOOK, "end": "\x02"}
    )


def _looks(stands_for: dict[str, str], name: str) -> set[str]:
    form = "".join(unicodedata.normalize("NFKC", name).split())
    folded = "".join(unicodedata.normalize("NFKC", name).casefold().split())
    return {_skeleton(stands_for, folded), _skeleton(stands_for, _skeleton(stands_for, form).casefold())}


def _skeleton(stands_for: dict[str, str], text: str) -> str:
    seen = (stands_for.get(letter, letter) for letter in unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", "".join(seen))


def _prototypes() -> dict[str, str]:
    table = json.loads(files("confusable_homoglyphs").joinpath("confusables.json").read_bytes())
    rings = [
        {text.replace("\u200e", "") for text in (one, *(other["c"] for other in others))}
        for one, others in table.items()
    ]
    found: dict[str, str] = {}
    for ring in sorted(rings, key=len):
        found |= dict.fromkeys(ring, min(ring, key=lambda text: (-len(text), text)))
    return {one: "".join(found.get(letter, letter) for letter in stands) for one, stands in found.items()}

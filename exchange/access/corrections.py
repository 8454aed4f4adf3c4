"""Typos in what is recorded are mended in the open: what stood there, what stands there since, who says so and why."""

from exchange.access.tables import Correction
from exchange.columns import Stored
from exchange.journal.work import UnitOfWork
from exchange.problems import Fault, Invalid


class NothingChanges(Invalid):
    """The request changes nothing."""

    remedy = "Give at least one field with a new value."


def correct(work: UnitOfWork, row: Stored, subject: str, field: str, after: str | None, reason: str) -> None:
    """Mend a field of a current row, which knows when it was changed last; `subject` is its written id. Raises NothingChanges."""
    before: str | None = getattr(row, field)
    if before == after:
        raise NothingChanges("That is what stands there already.", Fault("/value", "must differ from what it was"))
    work.insert(
        Correction,
        position=work.position,
        subject=subject,
        field=field,
        before=before,
        after=after,
        reason=reason,
    )
    work.change(row, changed_at=work.position, **{field: after})

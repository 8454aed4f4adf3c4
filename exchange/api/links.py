"""What may come next: after which operation the id that it answers is of use, and for what. The document's `links` are made from it."""

from typing import Any, Final

NEXT: Final[dict[str, tuple[str, ...]]] = {
    "apply_for_membership": ("show_member", "start_review"),
    "start_review": ("show_member", "request_correction", "admit_member", "reject_member"),
    "request_correction": ("show_member", "correct_application"),
    "correct_application": ("show_member", "request_correction", "admit_member", "reject_member"),
    "admit_member": (
        *("show_member", "show_statement", "suspend_member", "change_member", "correct_member", "withdraw_member"),
        *("propose_expulsion", "read_member_data"),
    ),
    "reject_member": ("show_member", "erase_member_data"),
    "suspend_member": ("show_member", "reinstate_member", "withdraw_member", "propose_expulsion"),
    "reinstate_member": ("show_member", "suspend_member", "withdraw_member"),
    "withdraw_member": ("show_member", "show_statement", "erase_member_data"),
    "propose_expulsion": ("show_member", "approve_expulsion"),
    "approve_expulsion": ("show_member", "propose_readmission"),
    "propose_readmission": ("show_member", "approve_readmission"),
    "register_product": ("show_product", "describe_version"),
    "describe_version": ("record_assessment",),
    "draft_listing": ("show_listing", "submit_listing"),
    "submit_listing": ("show_listing", "approve_listing", "reject_listing"),
    "approve_listing": ("show_listing", "suspend_listing", "delist_listing"),
    "suspend_listing": ("show_listing", "resume_listing", "delist_listing"),
    "resume_listing": ("show_listing", "suspend_listing", "delist_listing"),
    "create_trade": (
        *("show_trade", "confirm_trade", "cancel_trade"),
        *("terminate_trade", "propose_reversal", "correct_trade"),
    ),
    "confirm_trade": ("show_trade", "contract_trade", "review_filing", "cancel_trade"),
    "contract_trade": ("show_trade", "terminate_trade", "propose_reversal", "correct_trade"),
    "file_trade": ("show_trade", "confirm_trade", "review_filing", "cancel_trade"),
    "review_filing": ("show_trade", "terminate_trade", "propose_reversal", "correct_trade"),
    "record_auction": ("show_trade", "terminate_trade", "propose_reversal", "correct_trade"),
    "terminate_trade": ("show_trade", "approve_termination"),
    "approve_termination": ("show_trade",),
    "propose_reversal": ("show_trade", "approve_reversal"),
    "approve_reversal": ("show_trade",),
    "create_key": ("revoke_key",),
    "grant_mandate": ("show_mandate", "end_mandate"),
    "end_mandate": ("show_mandate",),
}
"""By operation, operations that take what it answers as `id` for theirs; not all of them, but those that lead on."""

DECIDES: Final = {"approve_termination": 202}
"""What decides on a proposal, and the status of an answer that is one: where the other status says that it is done, nothing is left to decide."""


def links_of(operation: str, status: int) -> dict[str, Any]:
    """Give the `links` of an operation's answers of a status, with their key; nothing where nothing follows."""
    links = {
        following: {"operationId": following, "parameters": {"id": "$response.body#/id"}}
        for following in NEXT.get(operation, ())
        if DECIDES.get(following, status) == status
    }
    return {"links": links} if links else {}

"""Which command is which step."""

from typing import Final

from exchange.agents.tables import MandateStep
from exchange.journal.commands import Command
from exchange.listings import commands as listings
from exchange.trades import commands as trades

STEP_OF: Final[dict[type[Command], MandateStep]] = {
    listings.RegisterProduct: MandateStep.PRODUCTS,
    listings.DescribeVersion: MandateStep.PRODUCTS,
    listings.DraftListing: MandateStep.LISTINGS,
    listings.SubmitListing: MandateStep.LISTINGS,
    listings.DelistListing: MandateStep.LISTINGS,
    trades.TakeListing: MandateStep.TRADES_TAKE,
    trades.ProposeTrade: MandateStep.TRADES_PROPOSE,
    trades.FileTrade: MandateStep.TRADES_FILE,
    trades.ConfirmTrade: MandateStep.TRADES_CONFIRM,
    trades.ContractTrade: MandateStep.TRADES_CONTRACT,
    trades.CancelTrade: MandateStep.TRADES_CANCEL,
    trades.ProposeTermination: MandateStep.TRADES_TERMINATE,
    trades.ApproveTermination: MandateStep.TRADES_TERMINATE,
}
"""By which step each command can be delegated; what is not here never is: membership, assessments, mandates, keys."""

PRODUCT_STEPS: Final = frozenset({MandateStep.PRODUCTS, MandateStep.LISTINGS})
LISTING_STEPS: Final = frozenset({MandateStep.LISTINGS})
TRADE_STEPS: Final = frozenset(step for step in MandateStep if step.startswith("trades."))
"""Which steps let an agent see the principal's products, listings and trades."""

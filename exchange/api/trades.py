"""Trades over HTTP."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field
from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.access.tables import EVERYBODY, Role
from exchange.agents.steps import TRADE_STEPS
from exchange.api.bodies import Body, QueryWrong
from exchange.api.doors import Read, Route, Write, path_id, seen_by
from exchange.api.lists import Page, PageShape, after, cut
from exchange.api.shapes import (
    SHA256_EXAMPLE,
    Day,
    MoneyBody,
    MoneyShape,
    Nothing,
    Paragraph,
    Reasoned,
    ReasonedOn,
    Reference,
    Searched,
    Sha256,
    example,
    fen,
    id_type,
    money_of,
    one_of,
)
from exchange.identifiers import ListingId, MemberId, Prefix, TradeId, written_id
from exchange.journal.commands import Command
from exchange.listings.tables import ProductKind, Sector
from exchange.money import Price
from exchange.problems import Fault
from exchange.trades import commands, rules
from exchange.trades.queries import Deal, Party, TradeFilter, find_trade, list_trades
from exchange.trades.rules import Terms
from exchange.trades.states import TradeState
from exchange.trades.tables import Side, TradeMode, Venue

PRICE_EXAMPLE: Final = {"net": fen("10000000"), "vat": fen("600000"), "gross": fen("10600000")}
TERMS_EXAMPLE: Final = {
    "listing_id": "lst_000000000043",
    "quantity": 1,
    "purpose": "信贷风控建模",
    "contract_number": "HT-2023-0001",
    "contract_sha256": SHA256_EXAMPLE,
    **PRICE_EXAMPLE,
}


class Amounts(Body):
    """What is paid: net + vat = gross."""

    net: MoneyBody
    vat: MoneyBody
    gross: MoneyBody

    @property
    def price(self) -> Price:
        """The same in fen."""
        return Price(net=self.net.money, vat=self.vat.money, gross=self.gross.money)


class TermsBody(Amounts):
    """On what the parties agree."""

    listing_id: id_type(Prefix.LISTING)  # type: ignore[valid-type]  # made for each kind of id
    quantity: int
    purpose: Paragraph = Field(examples=["信贷风控建模"])
    contract_number: Reference = Field(examples=["HT-2026-0001"])
    contract_sha256: Sha256 = Field(description="SHA-256 of the contract's text")
    delivery_terms: Paragraph | None = None
    acceptance_window_days: int = 0

    @property
    def terms(self) -> Terms:
        """The same for the command."""
        return Terms(
            purpose=self.purpose,
            quantity=self.quantity,
            price=self.price,
            contract_number=self.contract_number,
            contract_sha256=self.contract_sha256,
            delivery_terms=self.delivery_terms,
            acceptance_window_days=self.acceptance_window_days,
        )


class NewTrade(Amounts):
    """A trade, by `mode`.

    `listed`: the buyer takes a fixed-price listing, and it counts at once; the amount is what the listing gives, and the contract's
    hash is computed from the order; `contract_number` may be left out. `negotiated`: either party proposes; a seller names `buyer_id`.
    """

    model_config = example(
        mode="listed", listing_id="lst_000000000043", quantity=1, purpose="信贷风控建模", **PRICE_EXAMPLE
    )

    mode: Literal["listed", "negotiated"]
    listing_id: id_type(Prefix.LISTING)  # type: ignore[valid-type]  # made for each kind of id
    quantity: int
    purpose: Paragraph = Field(examples=["信贷风控建模"])
    contract_number: Reference | None = Field(None, examples=["HT-2026-0001"])
    contract_sha256: Sha256 | None = Field(None, description="for `negotiated` only, and then needed")
    delivery_terms: Paragraph | None = None
    acceptance_window_days: int = 0
    external_ref: Reference | None = Field(None, description="your own reference; the other party does not see it")
    buyer_id: id_type(Prefix.MEMBER) | None = None  # type: ignore[valid-type]  # made for each kind of id


class Filing(TermsBody):
    """A trade made elsewhere."""

    model_config = example(
        **TERMS_EXAMPLE, effective_on="2023-12-29", evidence=[SHA256_EXAMPLE], buyer_id="mbr_000000000007"
    )

    effective_on: Day
    evidence: tuple[Sha256, ...] = Field(description="SHA-256 of each document")
    external_ref: Reference | None = None
    buyer_id: id_type(Prefix.MEMBER) | None = None  # type: ignore[valid-type]  # made for each kind of id


class AuctionResult(TermsBody):
    """The result of an auction."""

    model_config = example(**TERMS_EXAMPLE, buyer_id="mbr_000000000007", effective_on="2023-12-29")

    buyer_id: id_type(Prefix.MEMBER)  # type: ignore[valid-type]  # made for each kind of id
    effective_on: Day


class Confirmation(Body):
    """Agreement, perhaps with one's own reference."""

    model_config = example(external_ref="PO-2026-0001")

    external_ref: Reference | None = None


class Review(Reasoned):
    """The decision on a filing."""

    model_config = example(decision="approve", reason="Contract and payment agree.", received_on="2024-01-05")

    decision: Literal["approve", "reject"]
    received_on: Day | None = Field(
        None, description="when the exchange had it in hand; the day it was filed where left out"
    )


class CorrectionBody(Reasoned):
    """A typo mended: which field, what shall stand there, and why."""

    model_config = example(field="purpose", value="信贷风控建模", reason="A slip of the pen, as the contract shows.")

    field: Annotated[str, one_of(rules.WORDS)] = Field(examples=["purpose"])
    value: Paragraph | None = Field(
        None, description="what shall stand there, by the rules of that field; left out or null to empty it"
    )


class PartyShape(Body):
    """A party to a trade."""

    id: str
    uscc: str
    legal_name: str


class TradeShape(Body):
    """A trade, whole. A member sees its own reference and not the other party's."""

    id: str
    state: TradeState
    mode: TradeMode
    venue: Venue
    proposer: Side
    buyer: PartyShape
    seller: PartyShape
    listing: str
    product: str
    version: str
    sector: Sector
    kind: ProductKind
    region: str
    purpose: str
    quantity: int
    contract_number: str
    contract_sha256: str
    net: MoneyShape
    vat: MoneyShape
    gross: MoneyShape
    delivery_terms: str | None
    acceptance_window_days: int
    buyer_ref: str | None
    seller_ref: str | None
    evidence: tuple[str, ...]
    proposed_on: Day
    effective_on: Day | None
    received_on: Day | None
    ended_on: Day | None
    confirmed: bool
    related: bool
    late: bool
    termination_proposed: bool
    reversal_proposed: bool
    changed_at: int = Field(description="position of the last change")


class TradeList(PageShape):
    """A page of trades, the oldest first."""

    data: list[TradeShape]


class TradeQuery(Page):
    """Which trades. `from` and `to` are business dates on which they count, both included."""

    state: TradeState | None = None
    mode: TradeMode | None = None
    venue: Venue | None = None
    side: Literal["buyer", "seller"] | None = Field(None, description="for a member: the side on which it stands")
    contract_number: Searched | None = None
    external_ref: Searched | None = None
    counterparty: Searched | None = Field(None, description="the other party's uscc; to staff, either party's")
    from_: Annotated[Day | None, Field(alias="from")] = None
    to: Day | None = None

    @property
    def which(self) -> TradeFilter:
        """The same for the query."""
        return TradeFilter(
            state=self.state,
            mode=self.mode,
            venue=self.venue,
            side=None if self.side is None else Side(self.side),
            contract_number=self.contract_number,
            external_ref=self.external_ref,
            counterparty=self.counterparty,
            since=self.from_,
            until=self.to,
        )


def make_trade(body: NewTrade, _: int, __: KeyHolder) -> Command:
    """Make the command of a new trade by its mode."""
    return MAKE[body.mode](body)


def _take(body: NewTrade) -> Command:
    rules.refuse_given(contract_sha256=body.contract_sha256, buyer_id=body.buyer_id)
    return commands.TakeListing(
        listing_id=ListingId(body.listing_id),
        quantity=body.quantity,
        price=body.price,
        purpose=body.purpose,
        contract_number=body.contract_number,
        delivery_terms=body.delivery_terms,
        acceptance_window_days=body.acceptance_window_days,
        external_ref=body.external_ref,
    )


def _propose(body: NewTrade) -> Command:
    number, sha256 = rules.require_contract(body.contract_number, body.contract_sha256)
    terms = Terms(
        purpose=body.purpose,
        quantity=body.quantity,
        price=body.price,
        contract_number=number,
        contract_sha256=sha256,
        delivery_terms=body.delivery_terms,
        acceptance_window_days=body.acceptance_window_days,
    )
    return commands.ProposeTrade(ListingId(body.listing_id), terms, _member(body.buyer_id), body.external_ref)


MAKE: Final = {"listed": _take, "negotiated": _propose}


def _member(number: int | None) -> MemberId | None:
    return None if number is None else MemberId(number)


def _file(body: Filing, _: int, __: KeyHolder) -> Command:
    return commands.FileTrade(
        listing_id=ListingId(body.listing_id),
        terms=body.terms,
        effective_on=body.effective_on,
        evidence=body.evidence,
        buyer_id=_member(body.buyer_id),
        external_ref=body.external_ref,
    )


def _review(body: Review, number: int, _: KeyHolder) -> Command:
    if body.decision == "reject":
        rules.refuse_given(received_on=body.received_on)
        return commands.RejectFiling(TradeId(number), body.reason)
    return commands.ApproveFiling(TradeId(number), body.reason, body.received_on)


def _terminate(body: ReasonedOn, number: int, caller: KeyHolder) -> Command:
    if caller.role == Role.OPERATOR:
        return commands.TerminateTrade(TradeId(number), body.reason, body.effective_on)
    rules.refuse_given(effective_on=body.effective_on)
    return commands.ProposeTermination(TradeId(number), body.reason)


def _party(member: Party) -> PartyShape:
    return PartyShape(id=written_id(Prefix.MEMBER, member.id), uscc=member.uscc, legal_name=member.legal_name)


def shape_trade(deal: Deal, caller: KeyHolder) -> TradeShape:
    """Shape a trade for who asks."""
    trade = deal.trade
    plain = trade.model_dump(
        exclude={
            "id",
            "buyer_id",
            "seller_id",
            "listing_id",
            "product_id",
            "version_id",
            "termination_id",
            "reversal_id",
        }
    )
    hidden = {
        f"{side}_ref": None
        for side, member in (("buyer", deal.buyer), ("seller", deal.seller))
        if caller.uscc not in {None, member.uscc}
    }
    named: dict[str, Any] = {
        "id": written_id(Prefix.TRADE, trade.id),
        "buyer": _party(deal.buyer),
        "seller": _party(deal.seller),
        "listing": written_id(Prefix.LISTING, trade.listing_id),
        "product": written_id(Prefix.PRODUCT, trade.product_id),
        "version": written_id(Prefix.VERSION, trade.version_id),
        "net": money_of(trade.net),
        "vat": money_of(trade.vat),
        "gross": money_of(trade.gross),
        "termination_proposed": trade.termination_id is not None,
        "reversal_proposed": trade.reversal_id is not None,
    }
    return TradeShape(**(plain | hidden | named))


async def _list(request: Request, caller: KeyHolder, asked: TradeQuery) -> TradeList:
    if caller.uscc is None and asked.side is not None:
        raise QueryWrong("You stand on no side.", Fault("/side", "must be left out by all but members"))
    place = after(request, caller, asked)
    rows = await seen_by(
        request,
        caller,
        list_trades,
        caller.uscc,
        place[0] if place else None,
        asked.limit + 1,
        asked.which,
    )
    page, following = cut(request, caller, asked, rows, lambda deal: [deal.trade.id])
    return TradeList(
        data=[shape_trade(deal, caller) for deal in page],
        next=following,
    )


async def _show(request: Request, caller: KeyHolder, _: Nothing) -> TradeShape:
    number = TradeId(path_id(request, Prefix.TRADE))
    return shape_trade(await seen_by(request, caller, find_trade, number), caller)


def _step(path: str, operation: str, summary: str, command: Any, status: int = 200) -> Write[Any]:
    """Make the route of a step that takes nothing, or a reason."""
    reasoned = issubclass(command, commands.ReasonedStep)
    return Write(
        path=f"/trades/{{id}}/{path}",
        operation=operation,
        summary=summary,
        commands=(command,),
        make=lambda body, number, _: command(TradeId(number), body.reason) if reasoned else command(TradeId(number)),
        body=Reasoned if reasoned else Nothing,
        status=status,
        prefix=Prefix.TRADE,
    )


NEW_TRADE: Final = Write(
    path="/trades",
    operation="create_trade",
    summary="Take a listing (it counts at once), or propose a negotiated trade",
    commands=(commands.TakeListing, commands.ProposeTrade),
    make=make_trade,
    body=NewTrade,
    status=201,
)

ROUTES: Final[list[Route]] = [
    NEW_TRADE,
    Read(
        path="/trades",
        operation="list_trades",
        summary="List trades: to a member, its own",
        roles=EVERYBODY,
        answer=_list,
        query=TradeQuery,
        shape=TradeList,
        errors=(400, 401, 403),
        mandated=TRADE_STEPS,
    ),
    Read(
        path="/trades/{id}",
        operation="show_trade",
        summary="Show a trade, to its parties, staff and regulators",
        roles=EVERYBODY,
        answer=_show,
        query=Nothing,
        shape=TradeShape,
        tagged=True,
        mandated=TRADE_STEPS,
    ),
    Write(
        path="/filings",
        operation="file_trade",
        summary="File a trade made elsewhere: it counts when the other party has confirmed and the exchange approved",
        commands=(commands.FileTrade,),
        make=_file,
        body=Filing,
        status=201,
    ),
    Write(
        path="/auctions",
        operation="record_auction",
        summary="Record the result of an auction: it counts at once",
        commands=(commands.RecordAuction,),
        make=lambda body, _, __: commands.RecordAuction(
            ListingId(body.listing_id), MemberId(body.buyer_id), body.terms, body.effective_on
        ),
        body=AuctionResult,
        status=201,
    ),
    Write(
        path="/trades/{id}/confirmation",
        operation="confirm_trade",
        summary="Confirm what the other party proposed or filed",
        commands=(commands.ConfirmTrade,),
        make=lambda body, number, _: commands.ConfirmTrade(TradeId(number), body.external_ref),
        body=Confirmation,
        prefix=Prefix.TRADE,
    ),
    _step("contract", "contract_trade", "Contract a confirmed trade: it counts, today", commands.ContractTrade),
    _step("cancellation", "cancel_trade", "Cancel a trade that is not contracted yet", commands.CancelTrade),
    Write(
        path="/trades/{id}/review",
        operation="review_filing",
        summary="Approve or reject a filing",
        commands=(commands.ApproveFiling, commands.RejectFiling),
        make=_review,
        body=Review,
        prefix=Prefix.TRADE,
    ),
    Write(
        path="/trades/{id}/termination",
        operation="terminate_trade",
        summary="Terminate a trade: a party proposes (202), the exchange decides (200)",
        commands=(commands.ProposeTermination, commands.TerminateTrade),
        make=_terminate,
        body=ReasonedOn,
        prefix=Prefix.TRADE,
        status_by_role={Role.MEMBER: 202},
    ),
    _step(
        "termination/approval",
        "approve_termination",
        "Agree to the other party's termination",
        commands.ApproveTermination,
    ),
    _step(
        "reversal",
        "propose_reversal",
        "Propose to reverse a trade: another person decides",
        commands.ProposeReversal,
        202,
    ),
    Write(
        path="/trades/{id}/correction",
        operation="correct_trade",
        summary="Mend a typo in what a trade says in words: what stood there before is kept",
        commands=(commands.CorrectTrade,),
        make=lambda body, number, _: commands.CorrectTrade(TradeId(number), body.field, body.value, body.reason),
        body=CorrectionBody,
        prefix=Prefix.TRADE,
    ),
    _step("reversal/approval", "approve_reversal", "Approve another person's reversal", commands.ApproveReversal),
]

"""Listings over HTTP."""

from datetime import date
from typing import Any, Final

from pydantic import Field
from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.access.tables import EVERYBODY
from exchange.agents.steps import LISTING_STEPS
from exchange.api.bodies import Body
from exchange.api.doors import Read, Route, Write, office, path_id, seen_by
from exchange.api.lists import Page, PageShape, after, cut
from exchange.api.products import VersionShape, shape_version
from exchange.api.shapes import Day, MoneyBody, MoneyShape, Nothing, ReasonedOn, example, fen, id_type, money_of
from exchange.identifiers import ListingId, Prefix, VersionId, written_id
from exchange.listings import commands, rules
from exchange.listings.queries import Offer, OfferFilter, find_offer, list_offers
from exchange.listings.rules import OfferFields
from exchange.listings.states import ListingState
from exchange.listings.tables import PriceModel, ProductKind, Sector, Visibility
from exchange.members.states import MemberState


class NewListing(Body):
    """On what terms a version is offered."""

    model_config = example(
        version_id="ver_000000000042",
        price_model="fixed",
        price=fen("10600000"),
        vat_rate_bp=600,
        expires_on="2027-12-31",
    )

    version_id: id_type(Prefix.VERSION)  # type: ignore[valid-type]  # made for each kind of id
    price_model: PriceModel
    price: MoneyBody | None = Field(None, description="includes VAT; left out when negotiable")
    vat_rate_bp: int = Field(description="basis points", examples=[600])
    visibility: Visibility = Visibility.PUBLIC
    expires_on: Day | None = None

    @property
    def offer(self) -> OfferFields:
        """The same for the command."""
        price = self.price.money if self.price else None
        return OfferFields(self.price_model, price, self.vat_rate_bp, self.visibility, self.expires_on)


class ListingShape(Body):
    """A listing with what it offers. `tradable` says whether it can be taken or negotiated today."""

    id: str
    state: ListingState
    tradable: bool
    owner: str
    owner_name: str
    product: str
    code: str
    kind: ProductKind
    version: VersionShape
    price_model: PriceModel
    price: MoneyShape | None
    vat_rate_bp: int
    visibility: Visibility
    expires_on: Day | None
    changed_on: Day
    changed_at: int = Field(description="position of the last change")


class ListingList(PageShape):
    """A page of listings, the oldest first."""

    data: list[ListingShape]


class ListingFilter(Page):
    """Which listings."""

    state: ListingState | None = None
    sector: Sector | None = None
    kind: ProductKind | None = None


def _tradable(offer: Offer, today: date) -> bool:
    try:
        rules.check_tradable(offer.listing.state, offer.listing, offer.version, today)
    except rules.ListingNotTradable:
        return False
    return offer.owner.state is MemberState.ACTIVE


def shape_listing(offer: Offer, today: date) -> ListingShape:
    """Shape a listing."""
    listing = offer.listing
    return ListingShape(
        id=written_id(Prefix.LISTING, listing.id),
        state=listing.state,
        tradable=_tradable(offer, today),
        owner=written_id(Prefix.MEMBER, offer.owner.id),
        owner_name=offer.owner.legal_name,
        product=written_id(Prefix.PRODUCT, offer.product.id),
        code=offer.product.code,
        kind=offer.product.kind,
        version=shape_version(offer.version),
        price_model=listing.price_model,
        price=None if listing.price is None else money_of(listing.price),
        vat_rate_bp=listing.vat_rate_bp,
        visibility=listing.visibility,
        expires_on=listing.expires_on,
        changed_on=listing.changed_on,
        changed_at=listing.changed_at,
    )


async def _list(request: Request, caller: KeyHolder, asked: ListingFilter) -> ListingList:
    place = after(request, caller, asked)
    rows = await seen_by(
        request,
        caller,
        list_offers,
        place[0] if place else None,
        asked.limit + 1,
        OfferFilter(asked.state, asked.sector, asked.kind),
    )
    today = office(request).today()
    page, following = cut(request, caller, asked, rows, lambda offer: [offer.listing.id])
    return ListingList(
        data=[shape_listing(offer, today) for offer in page],
        next=following,
    )


async def _show(request: Request, caller: KeyHolder, _: Nothing) -> ListingShape:
    number = ListingId(path_id(request, Prefix.LISTING))
    offer = await seen_by(request, caller, find_offer, number)
    return shape_listing(offer, office(request).today())


def _step(path: str, operation: str, summary: str, command: Any) -> Write[ReasonedOn]:
    return Write(
        path=f"/listings/{{id}}/{path}",
        operation=operation,
        summary=summary,
        commands=(command,),
        make=lambda body, number, _: command(ListingId(number), body.reason, body.effective_on),
        body=ReasonedOn,
        prefix=Prefix.LISTING,
    )


ROUTES: Final[list[Route]] = [
    Write(
        path="/listings",
        operation="draft_listing",
        summary="Draft an offer of a version",
        commands=(commands.DraftListing,),
        make=lambda body, _, __: commands.DraftListing(VersionId(body.version_id), body.offer),
        body=NewListing,
        status=201,
    ),
    Read(
        path="/listings",
        operation="list_listings",
        summary="List listings: to a member, those for sale and its own",
        roles=EVERYBODY,
        answer=_list,
        query=ListingFilter,
        shape=ListingList,
        errors=(400, 401, 403),
        mandated=LISTING_STEPS,
    ),
    Read(
        path="/listings/{id}",
        operation="show_listing",
        summary="Show a listing with what it offers",
        roles=EVERYBODY,
        answer=_show,
        query=Nothing,
        shape=ListingShape,
        tagged=True,
        mandated=LISTING_STEPS,
    ),
    _step("submission", "submit_listing", "Hand a draft in for review", commands.SubmitListing),
    _step("approval", "approve_listing", "Approve a listing: it is for sale", commands.ApproveListing),
    _step("rejection", "reject_listing", "Reject a listing in review", commands.RejectListing),
    _step("suspension", "suspend_listing", "Suspend a listing", commands.SuspendListing),
    _step("resumption", "resume_listing", "Put a suspended listing up for sale again", commands.ResumeListing),
    _step("delisting", "delist_listing", "Take a listing off sale for good", commands.DelistListing),
]

"""The service as its clients meet it: the whole application over a test's own exchange, asked over HTTP."""

import asyncio
import hashlib
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from typing import Any, TypeVar

import httpx
import orjson
import pytest
from exchanges import Exchange, Offer, Party, a_price, a_sha256, a_uscc

from exchange import clock
from exchange.access.callers import KeyHolder, secret_hash, written_secret
from exchange.access.commands import CreateKey, RevokeKey
from exchange.access.tables import Role
from exchange.app import create_app, openapi
from exchange.identifiers import Prefix, written_id
from exchange.journal.callers import Caller
from exchange.listings.states import ListingState
from exchange.members.commands import ProposeExpulsion, ProposeReadmission
from exchange.members.states import MemberState
from exchange.money import Price
from exchange.settings import Settings
from exchange.trades.commands import ConfirmTrade, ProposeReversal, ProposeTermination
from exchange.trades.states import TradeState
from exchange.volume.rules import next_month
from exchange.volume.tables import Closing

T = TypeVar("T")

UNKNOWN = 999_999_999_999

DOCUMENT = openapi()
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    said["operationId"]: (verb.upper(), path, said)
    for path, verbs in DOCUMENT["paths"].items()
    for verb, said in verbs.items()
}
"""What the document says, by operation: method, path, and the rest."""


def fen(amount: int) -> dict[str, str]:
    return {"amount": str(amount), "currency": "CNY"}


def amounts(price: Price) -> dict[str, Any]:
    return {"net": fen(price.net), "vat": fen(price.vat), "gross": fen(price.gross)}


class Door:
    """A client of the service, and behind it the exchange on the same database, whose clock both use."""

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        self.place = Exchange.at(url)
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(clock, "now", lambda: self.place.now)
        self._tokens: dict[tuple[Role, str, str | None], str] = {}
        self._keys = count(1)
        self._runner = asyncio.Runner()
        self.app = create_app(settings or Settings(database_url=url))
        self._life = self.app.router.lifespan_context(self.app)
        self.wait(self._life.__aenter__())
        self._stopped = False
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://exchange.test")

    def close(self) -> None:
        self.wait(self.client.aclose())
        self.wait(self.stop())
        self._runner.close()
        self._patch.undo()
        self.place.close()

    async def stop(self) -> None:
        """Stop the service, once."""
        if not self._stopped:
            self._stopped = True
            await self._life.__aexit__(None, None, None)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    # Keys

    def token(self, role: Role, name: str, uscc: str | None = None) -> str:
        """Give a key's secret for a person, made when first asked for."""
        who = (role, name, uscc)
        if who not in self._tokens:
            secret = written_secret(hashlib.sha256(repr(who).encode()).digest())
            digest = secret_hash(secret)
            assert digest is not None
            by: Caller = self.place.operator()
            self.place.do(CreateKey(role, name, digest, uscc), by)
            self._tokens[who] = secret
        return self._tokens[who]

    @property
    def operator(self) -> str:
        return self.token(Role.OPERATOR, "Li")

    @property
    def second_operator(self) -> str:
        return self.token(Role.OPERATOR, "Wang")

    @property
    def auditor(self) -> str:
        return self.token(Role.AUDITOR, "Chen")

    @property
    def regulator(self) -> str:
        return self.token(Role.REGULATOR, "Zhao")

    def of(self, party: Party | KeyHolder, person: str = "Zhang") -> str:
        """Give a key of a company's."""
        return self.token(Role.MEMBER, person, party.uscc)

    # Requests

    async def send(
        self,
        method: str,
        path: str,
        by: str | None = None,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        without_key: bool = False,
        **params: Any,
    ) -> httpx.Response:
        """Send a request; a body of bytes goes as it is, anything else as JSON, and a write gets a new key where none is given."""
        sent = {} if by is None else {"Authorization": f"Bearer {by}"}
        if method != "GET":
            sent |= {} if method == "DELETE" and body is None else {"Content-Type": "application/json"}
            sent |= {} if without_key else {"Idempotency-Key": key or f"http-{next(self._keys)}"}
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        return await self.client.request(
            method, path, content=content, headers=sent | (headers or {}), params=params or None
        )

    def ask(self, method: str, path: str, by: str | None = None, body: Any = None, **more: Any) -> httpx.Response:
        return self.wait(self.send(method, path, by, body, **more))

    def get(self, path: str, by: str | None = None, **params: Any) -> Any:
        """Read, and give what is answered."""
        answer = self.ask("GET", path, by, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, by: str, body: Any = None, *, status: int | None = None, key: str | None = None) -> Any:
        """Write, and give what is answered; anything but success fails the test."""
        answer = self.ask("POST", path, by, {} if body is None else body, key=key)
        assert answer.status_code in ({200, 201, 202} if status is None else {status}), answer.text
        return answer.json()

    def all_of(self, path: str, by: str, limit: int, **params: Any) -> list[Any]:
        """Read a list to its end, page by page."""
        found: list[Any] = []
        page = self.get(path, by, limit=limit, **params)
        while page["next"]:
            found += page["data"]
            page = self.get(path, by, limit=limit, cursor=page["next"], **params)
        found += page["data"]
        return found


@contextmanager
def opened(url: str, settings: Settings | None = None) -> Iterator[Door]:
    """Open a door over a migrated database; its clock stands until it is moved."""
    door = Door(url, settings)
    yield door
    door.close()


def refused(answer: httpx.Response, status: int, type_name: str | None = None) -> dict[str, Any]:
    """Check that an answer is a problem in its one shape; give it."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "remedy", "errors"}
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert type_name in {None, problem["type"].removeprefix("/problems/")}, problem
    return problem


def mbr(number: int) -> str:
    return written_id(Prefix.MEMBER, number)


def trd(number: int) -> str:
    return written_id(Prefix.TRADE, number)


def lst(number: int) -> str:
    return written_id(Prefix.LISTING, number)


# One good request for each operation that writes


@dataclass(frozen=True, slots=True)
class Wish:
    """A request that is accepted as it stands, who may send it, and the answer's status."""

    path: str
    body: dict[str, Any]
    by: str
    status: int = 200
    method: str = "POST"

    def of_unknown(self) -> str:
        """Give the path with an id that nothing has."""
        return re.sub(r"_[0-9]{12}", f"_{UNKNOWN}", self.path)


REASON = {"reason": "as it should be"}
ON_DAY = REASON | {"effective_on": None}


def application(number: int = 77) -> dict[str, Any]:
    return {
        "uscc": a_uscc(number),
        "legal_name": f"湖南数据{number}有限公司",
        "short_name": f"数据{number}",
        "legal_representative": "张三",
        "address": "长沙市岳麓区",
        "region_code": "430104",
        "industry_code": "I6510",
        "roles": ["provider", "consumer"],
        "contact": "0731-8888",
        "group_parent_uscc": a_uscc(78),
        "evidence": [a_sha256("licence")],
    }


def version() -> dict[str, Any]:
    return {
        "title": "企业信用数据",
        "abstract": "Credit records of companies",
        "sector": "finance",
        "scenarios": "Credit rating",
        "source_type": "first_party",
        "personal_information": True,
        "legal_basis": "consent",
        "grade": "general",
        "coverage": "Hunan",
        "record_count": 1_000,
        "update_frequency": "daily",
        "delivery_modes": ["api", "download"],
        "rights": ["use:2030-12-31"],
        "sample_sha256": a_sha256("sample"),
        "ip_registration": "IP-1",
    }


def listed(offer: Offer, quantity: int = 1) -> dict[str, Any]:
    """Write the body that takes a listing."""
    assert offer.price is not None
    price = a_price(offer.price.gross * quantity)
    return {
        "mode": "listed",
        "listing_id": lst(offer.id),
        "quantity": quantity,
        "purpose": "Training a model",
        "contract_number": "HT-1",
        "delivery_terms": "By API",
        "acceptance_window_days": 7,
        "external_ref": "PO-1",
    } | amounts(price)


def terms(offer: Offer, number: str = "HT-2") -> dict[str, Any]:
    """Write the terms of a negotiated trade."""
    return {
        "listing_id": lst(offer.id),
        "quantity": 2,
        "purpose": "Training a model",
        "contract_number": number,
        "contract_sha256": a_sha256(number),
        "delivery_terms": "By API",
        "acceptance_window_days": 7,
    } | amounts(a_price())


def _member(state: MemberState, step: str, status: int = 200) -> Callable[[Door], Wish]:
    def wish(door: Door) -> Wish:
        party = door.place.a_member(state)
        body = ON_DAY if status == 200 else REASON
        return Wish(f"/v1/members/{mbr(party.id)}/{step}", dict(body), door.operator, status)

    return wish


def _listing(state: ListingState, step: str) -> Callable[[Door], Wish]:
    def wish(door: Door) -> Wish:
        return Wish(f"/v1/listings/{lst(door.place.a_listing(state=state).id)}/{step}", dict(ON_DAY), door.operator)

    return wish


def _apply(door: Door) -> Wish:
    company = door.place.a_company()
    return Wish("/v1/members", application() | {"uscc": company.uscc}, door.of(company), 201)


def _correct(door: Door) -> Wish:
    party = door.place.a_member(MemberState.CORRECTION_REQUESTED)
    body = {name: value for name, value in application().items() if name != "uscc"}
    return Wish(f"/v1/members/{mbr(party.id)}/correction", body, door.of(party))


def _withdraw(door: Door) -> Wish:
    party = door.place.a_member()
    return Wish(f"/v1/members/{mbr(party.id)}/withdrawal", dict(REASON), door.of(party))


def _correct_member(door: Door) -> Wish:
    body = {"field": "address", "value": "长沙市岳麓区麓谷大道10号", **REASON}
    return Wish(f"/v1/members/{mbr(door.place.a_member().id)}/typo", body, door.operator)


def _change(door: Door) -> Wish:
    body = REASON | {
        "legal_name": "湖南新名有限公司",
        "short_name": "新名",
        "region_code": "430103",
        "group_parent_uscc": a_uscc(78),
        "leaves_group": False,
        "effective_on": f"{door.place.today}",
    }
    return Wish(f"/v1/members/{mbr(door.place.a_member().id)}/change", body, door.operator)


def _approve_expulsion(door: Door) -> Wish:
    party = door.place.a_member()
    door.place.do(ProposeExpulsion(party.id, "as it should be"), door.place.operator())
    return Wish(f"/v1/members/{mbr(party.id)}/expulsion/approval", {"reason": "as it should be"}, door.second_operator)


def _approve_readmission(door: Door) -> Wish:
    party = door.place.a_member(MemberState.EXPELLED)
    door.place.do(ProposeReadmission(party.id, "as it should be"), door.place.operator())
    return Wish(
        f"/v1/members/{mbr(party.id)}/readmission/approval", {"reason": "as it should be"}, door.second_operator
    )


def _register(door: Door) -> Wish:
    return Wish("/v1/products", {"code": "HN-1", "kind": "dataset"}, door.of(door.place.a_member()), 201)


def _describe(door: Door) -> Wish:
    owner = door.place.a_member()
    product_id, _ = door.place.a_version(owner)
    return Wish(f"/v1/products/{written_id(Prefix.PRODUCT, product_id)}/versions", version(), door.of(owner), 201)


def _assess(door: Door) -> Wish:
    _, version_id = door.place.a_version(door.place.a_member())
    assessor = door.place.a_member(roles=("service_org",))
    body = {"kind": "security", "report_sha256": a_sha256("report")}
    return Wish(f"/v1/versions/{written_id(Prefix.VERSION, version_id)}/assessments", body, door.of(assessor), 201)


def _draft(door: Door) -> Wish:
    owner = door.place.a_member()
    _, version_id = door.place.a_version(owner)
    body = {
        "version_id": written_id(Prefix.VERSION, version_id),
        "price_model": "fixed",
        "price": fen(106_000),
        "vat_rate_bp": 600,
        "visibility": "public",
        "expires_on": "2030-12-31",
    }
    return Wish("/v1/listings", body, door.of(owner), 201)


def _submit(door: Door) -> Wish:
    offer = door.place.a_listing(state=ListingState.DRAFT)
    return Wish(f"/v1/listings/{lst(offer.id)}/submission", dict(REASON), door.of(offer.owner))


def _delist(door: Door) -> Wish:
    offer = door.place.a_listing()
    return Wish(f"/v1/listings/{lst(offer.id)}/delisting", dict(REASON), door.of(offer.owner))


def _take(door: Door) -> Wish:
    return Wish("/v1/trades", listed(door.place.a_listing()), door.of(door.place.a_member()), 201)


def _file(door: Door) -> Wish:
    buyer, offer = door.place.a_member(), door.place.a_listing()
    body = terms(offer) | {
        "effective_on": f"{door.place.today}",
        "evidence": [a_sha256("contract")],
        "external_ref": "SO-1",
        "buyer_id": mbr(buyer.id),
    }
    return Wish("/v1/filings", body, door.of(offer.owner), 201)


def _auction(door: Door) -> Wish:
    body = terms(door.place.a_listing()) | {
        "buyer_id": mbr(door.place.a_member().id),
        "effective_on": f"{door.place.today}",
    }
    return Wish("/v1/auctions", body, door.operator, 201)


def _confirm(door: Door) -> Wish:
    sale = door.place.a_trade(TradeState.PROPOSED)
    return Wish(f"/v1/trades/{trd(sale.id)}/confirmation", {"external_ref": "SO-1"}, door.of(sale.seller))


def _contract(door: Door) -> Wish:
    sale = door.place.a_trade(TradeState.CONFIRMED)
    return Wish(f"/v1/trades/{trd(sale.id)}/contract", {}, door.of(sale.buyer))


def _cancel(door: Door) -> Wish:
    sale = door.place.a_trade(TradeState.PROPOSED)
    return Wish(f"/v1/trades/{trd(sale.id)}/cancellation", dict(REASON), door.of(sale.buyer))


def _review(door: Door) -> Wish:
    sale = door.place.a_trade(TradeState.FILED)
    door.place.do(ConfirmTrade(sale.id), sale.buyer.by)
    body = REASON | {"decision": "approve", "received_on": f"{door.place.today}"}
    return Wish(f"/v1/trades/{trd(sale.id)}/review", body, door.operator)


def _propose_termination(door: Door) -> Wish:
    sale = door.place.a_trade()
    return Wish(f"/v1/trades/{trd(sale.id)}/termination", dict(REASON), door.of(sale.buyer), 202)


def _approve_termination(door: Door) -> Wish:
    sale = door.place.a_trade()
    door.place.do(ProposeTermination(sale.id, "as it should be"), sale.buyer.by)
    return Wish(f"/v1/trades/{trd(sale.id)}/termination/approval", {}, door.of(sale.seller))


def _reverse(door: Door) -> Wish:
    return Wish(f"/v1/trades/{trd(door.place.a_trade().id)}/reversal", dict(REASON), door.operator, 202)


def _approve_reversal(door: Door) -> Wish:
    sale = door.place.a_trade()
    door.place.do(ProposeReversal(sale.id, "as it should be"), door.place.operator())
    return Wish(f"/v1/trades/{trd(sale.id)}/reversal/approval", {"reason": "as it should be"}, door.second_operator)


def _correct_trade(door: Door) -> Wish:
    body = {"field": "purpose", "value": "Training two models", **REASON}
    return Wish(f"/v1/trades/{trd(door.place.a_trade().id)}/correction", body, door.operator)


def _close(door: Door) -> Wish:
    closed = door.place.records(Closing)
    month = next_month(closed[0].closed_through) if closed else date(2015, 1, 1)
    return Wish("/v1/closed-months", {"month": f"{month:%Y-%m}"}, door.operator, 201)


PEOPLE = count(1)


def _create_key(door: Door) -> Wish:
    person = f"李四{next(PEOPLE)}"  # each another: a person has two live keys at most
    body = {"role": "member", "person": person, "uscc": a_uscc(77), "name": "billing", "scopes": ["read"]}
    return Wish("/v1/keys", body | {"expires_on": "2030-12-31"}, door.operator, 201)


def _revoke(door: Door) -> Wish:
    company = door.place.a_company()
    assert company.key_id is not None
    return Wish(f"/v1/keys/{written_id(Prefix.KEY, company.key_id)}", {}, door.operator, method="DELETE")


METHOD_OF = {"readings": "POST", "data": "DELETE"}
"""What is done with what is personal: it is looked at, or erased."""


def _person(what: str) -> Callable[[Door], Wish]:
    def wish(door: Door) -> Wish:
        company = door.place.a_company()
        assert company.key_id is not None
        door.place.do(RevokeKey(company.key_id), door.place.operator())
        person = written_id(Prefix.PERSON, company.person_id or 0)
        return Wish(f"/v1/persons/{person}/{what}", dict(REASON), door.operator, method=METHOD_OF[what])

    return wish


def _member_data(what: str) -> Callable[[Door], Wish]:
    def wish(door: Door) -> Wish:
        member = mbr(door.place.a_member().id)
        return Wish(f"/v1/members/{member}/{what}", dict(REASON), door.operator, method=METHOD_OF[what])

    return wish


def _grant(door: Door) -> Wish:
    agent = door.place.a_member(roles=("service_org",))
    body = {
        "agent_id": mbr(agent.id),
        "steps": ["products", "trades.take"],
        "ends_on": f"{door.place.today + timedelta(days=300)}",
    }
    return Wish("/v1/mandates", body, door.of(door.place.a_member()), 201)


def _end_mandate(door: Door) -> Wish:
    principal, agent = door.place.a_member(), door.place.a_member(roles=("service_org",))
    mandate = written_id(Prefix.MANDATE, door.place.a_mandate(principal, agent))
    return Wish(f"/v1/mandates/{mandate}/end", dict(REASON), door.of(principal))


WRITES: dict[str, Callable[[Door], Wish]] = {
    "apply_for_membership": _apply,
    "start_review": _member(MemberState.SUBMITTED, "review"),
    "request_correction": _member(MemberState.UNDER_REVIEW, "correction-request"),
    "correct_application": _correct,
    "admit_member": _member(MemberState.UNDER_REVIEW, "admission"),
    "reject_member": _member(MemberState.UNDER_REVIEW, "rejection"),
    "suspend_member": _member(MemberState.ACTIVE, "suspension"),
    "reinstate_member": _member(MemberState.SUSPENDED, "reinstatement"),
    "withdraw_member": _withdraw,
    "change_member": _change,
    "correct_member": _correct_member,
    "propose_expulsion": _member(MemberState.ACTIVE, "expulsion", 202),
    "approve_expulsion": _approve_expulsion,
    "propose_readmission": _member(MemberState.EXPELLED, "readmission", 202),
    "approve_readmission": _approve_readmission,
    "register_product": _register,
    "describe_version": _describe,
    "record_assessment": _assess,
    "draft_listing": _draft,
    "submit_listing": _submit,
    "approve_listing": _listing(ListingState.IN_REVIEW, "approval"),
    "reject_listing": _listing(ListingState.IN_REVIEW, "rejection"),
    "suspend_listing": _listing(ListingState.LISTED, "suspension"),
    "resume_listing": _listing(ListingState.SUSPENDED, "resumption"),
    "delist_listing": _delist,
    "create_trade": _take,
    "file_trade": _file,
    "record_auction": _auction,
    "confirm_trade": _confirm,
    "contract_trade": _contract,
    "cancel_trade": _cancel,
    "review_filing": _review,
    "terminate_trade": _propose_termination,
    "approve_termination": _approve_termination,
    "propose_reversal": _reverse,
    "approve_reversal": _approve_reversal,
    "correct_trade": _correct_trade,
    "close_month": _close,
    "create_key": _create_key,
    "revoke_key": _revoke,
    "read_person": _person("readings"),
    "erase_person": _person("data"),
    "read_member_data": _member_data("readings"),
    "erase_member_data": _member_data("data"),
    "grant_mandate": _grant,
    "end_mandate": _end_mandate,
}
"""Every operation that writes, but the batch."""

"""What can be imported: for each kind of file its columns, how a row is known, and the commands that it becomes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from exchange.clock import business_day, now
from exchange.identifiers import TradeId
from exchange.imports.reading import CellWrong, Columns, Row
from exchange.journal.commands import Command
from exchange.listings.commands import RecordListing
from exchange.listings.rules import OfferFields, VersionFields
from exchange.listings.states import ListingStep
from exchange.listings.tables import (
    DataGrade,
    LegalBasis,
    PriceModel,
    ProductKind,
    Sector,
    SourceType,
    UpdateFrequency,
    Visibility,
)
from exchange.members.commands import COLUMNS, RecordMember
from exchange.members.rules import STEP_TO, CompanyFields, OldChange
from exchange.members.tables import MemberFact
from exchange.money import Money, Price
from exchange.problems import Fault
from exchange.trades.commands import ProposeReversal, RecordTrade
from exchange.trades.rules import OldDates, Terms
from exchange.trades.states import TradeState
from exchange.trades.tables import TradeMode, Venue


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file."""

    name: str
    heads: dict[str, str]
    """English → Chinese names of the columns that each file has."""
    natural: tuple[str, ...]
    """The columns by which a row is known."""
    command: Callable[[Row], Command]
    follow: Callable[[Row], Callable[[int], Command] | None] = lambda _: None
    """What is to be done with the thing that the row made, given its number."""
    optional: dict[str, str] = field(default_factory=dict)
    """The same of the columns that a file may lack."""
    turn: str = ""
    """The column that tells apart what has the same natural key: 1, or blank, is the first."""

    @property
    def columns(self) -> Columns:
        """All of them."""
        return Columns(self.heads, self.optional)

    def content(self, row: Row) -> dict[str, str]:
        """Give what a row says, by which its request is known again: the same from any sort of file, with or without blank optional columns."""
        blank = dict.fromkeys(self.optional, "") | {self.turn: "1"}
        return {
            name: value
            for name, value in row.cells.items()
            if name in self.heads or (name in self.optional and value not in {"", blank[name]})
        }

    def key(self, row: Row) -> str:
        """Give the idempotency key of a row: it depends on what the row is about, never on where it stands."""
        again = [str(turn)] if (turn := row.turn(self.turn)) > 1 else []
        natural = "\n".join([*(row.given(name) for name in self.natural), *again])
        return f"{self.name}/{hashlib.sha256(natural.encode()).hexdigest()}"


def _member(row: Row) -> Command:
    fields = CompanyFields(
        legal_name=row.text("legal_name"),
        short_name=row.text("short_name"),
        legal_representative=row.text("legal_representative"),
        address=row.text("address"),
        region_code=row.text("region_code"),
        industry_code=row.text("industry_code"),
        roles=row.several("roles"),
        contact=row.text("contact"),
        group_parent_uscc=row.maybe("group_parent_uscc"),
        evidence=row.several("evidence_sha256"),
    )
    return RecordMember(
        row.text("uscc"),
        fields,
        row.day("applied_on"),
        row.day("admitted_on"),
        row.maybe_day("withdrawn_on"),
        tuple(_member_change(day, words) for day, words in row.changes("changes")),
    )


NO_GROUP: Final = "no group"
"""How a change says that a member left its group."""
CHANGEABLE: Final = ", ".join([*STEP_TO, "name …", "region …", "group …", NO_GROUP])


def _member_change(day: date, words: str) -> OldChange:
    fact, _, value = words.partition(" ")
    if words in set(STEP_TO):
        return OldChange(day, MemberFact.STATE, words)
    if words == NO_GROUP:
        return OldChange(day, MemberFact.GROUP, "")
    if fact in set(COLUMNS) and value:
        return OldChange(day, MemberFact(fact), value)
    raise CellWrong("A change cannot be read.", Fault("/changes", f"must each be a date and one of: {CHANGEABLE}"))


LISTING_CHANGES: Final = {"suspended": ListingStep.SUSPEND, "listed": ListingStep.RESUME}


def _listing_change(words: str) -> ListingStep:
    step = LISTING_CHANGES.get(words)
    if step is None:
        rule = "must each be a date and one of: " + ", ".join(LISTING_CHANGES)
        raise CellWrong("A change cannot be read.", Fault("/changes", rule))
    return step


def _product(row: Row) -> Command:
    version = VersionFields(
        title=row.text("title"),
        abstract=row.text("abstract"),
        sector=row.one_of("sector", Sector),
        scenarios=row.text("scenarios"),
        source_type=row.one_of("source_type", SourceType),
        personal_information=row.yes("personal_information"),
        legal_basis=row.maybe_one_of("legal_basis", LegalBasis),
        grade=row.one_of("grade", DataGrade),
        coverage=row.text("coverage"),
        record_count=row.whole("record_count"),
        update_frequency=row.one_of("update_frequency", UpdateFrequency),
        delivery_modes=row.several("delivery_modes"),
        rights=row.several("rights"),
        sample_sha256=row.maybe("sample_sha256"),
        ip_registration=row.maybe("ip_registration"),
    )
    offered = any(row.given(name) for name in ("listed_on", "price_model", "vat_rate_bp", "visibility"))
    return RecordListing(
        owner_uscc=row.text("owner_uscc"),
        code=row.text("product_code"),
        kind=row.one_of("kind", ProductKind),
        number=row.whole("version"),
        version=version,
        offer=_offer(row) if offered else None,
        listed_on=row.day("listed_on") if offered else None,
        delisted_on=row.maybe_day("delisted_on"),
        assessor_uscc=row.maybe("assessor_uscc"),
        security_assessment_sha256=row.maybe("security_assessment_sha256"),
        changes=tuple((day, _listing_change(words)) for day, words in row.changes("changes")),
        again=row.turn("listing") > 1,
    )


def _offer(row: Row) -> OfferFields:
    price = row.maybe_whole("price_fen")
    return OfferFields(
        price_model=row.one_of("price_model", PriceModel),
        price=None if price is None else Money(price),
        vat_rate_bp=row.whole("vat_rate_bp"),
        visibility=row.one_of("visibility", Visibility),
        expires_on=row.maybe_day("expires_on"),
    )


REVERSED: Final = "reversed"


def _trade(row: Row) -> Command:
    """Make the record of a trade. A reversed one is recorded as contracted: its reversal needs two persons of today."""
    reversal = row.given("outcome") == REVERSED
    if row.given("reversed_on") and not reversal:
        raise CellWrong(
            "A cell must be blank.", Fault("/reversed_on", "must be given for what was reversed, and only then")
        )
    terms = Terms(
        purpose=row.text("purpose"),
        quantity=row.whole("quantity"),
        price=Price(
            net=Money(row.whole("net_fen")), vat=Money(row.whole("vat_fen")), gross=Money(row.whole("gross_fen"))
        ),
        contract_number=row.text("contract_number"),
        contract_sha256=row.text("contract_sha256"),
        delivery_terms=row.maybe("delivery_terms"),
        acceptance_window_days=row.maybe_whole("acceptance_window_days") or 0,
    )
    days = OldDates(
        proposed_on=row.day("proposed_on"),
        effective_on=row.maybe_day("effective_on"),
        ended_on=None if reversal else row.maybe_day("ended_on"),
        received_on=row.maybe_day("received_on"),
    )
    return RecordTrade(
        seller_uscc=row.text("seller_uscc"),
        buyer_uscc=row.text("buyer_uscc"),
        product_code=row.text("product_code"),
        product_version=row.whole("product_version"),
        mode=row.one_of("mode", TradeMode),
        venue=row.one_of("venue", Venue),
        terms=terms,
        state=TradeState.CONTRACTED if reversal else row.one_of("outcome", TradeState),
        days=days,
        reason=None if reversal else row.maybe("reason"),
        buyer_ref=row.maybe("buyer_ref"),
        seller_ref=row.maybe("seller_ref"),
        evidence=row.several("evidence_sha256"),
    )


def _reversal(row: Row) -> Callable[[int], Command] | None:
    if row.given("outcome") != REVERSED:
        return None
    row.maybe_day(
        "ended_on"
    )  # when it was seen to be wrong; where nothing else is said, the reversal's day is derived on approval
    reason, day, traded = row.text("reason"), row.maybe_day("reversed_on"), row.maybe_day("effective_on")
    # Looked at here, before the trade is recorded: once it is, its row can no more be mended.
    if day is not None and traded is not None and not traded <= day <= business_day(now()):
        raise CellWrong("A day is out of order.", Fault("/reversed_on", "must lie between effective_on and today"))
    ProposeReversal(TradeId(0), reason, day)  # only to check the reason before anything is recorded
    return lambda number: ProposeReversal(TradeId(number), reason, day)


def _heads(*pairs: tuple[str, str]) -> dict[str, str]:
    return dict(pairs)


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind(
            "members",
            _heads(
                ("uscc", "统一社会信用代码"),
                ("legal_name", "企业名称"),
                ("short_name", "简称"),
                ("legal_representative", "法定代表人"),
                ("address", "注册地址"),
                ("region_code", "行政区划代码"),
                ("industry_code", "行业代码"),
                ("roles", "角色"),
                ("contact", "联系方式"),
                ("group_parent_uscc", "集团母公司代码"),
                ("evidence_sha256", "证明材料哈希"),
                ("applied_on", "申请日期"),
                ("admitted_on", "入会日期"),
                ("withdrawn_on", "退会日期"),
            ),
            ("uscc",),
            _member,
            optional=_heads(("changes", "变更记录"), ("membership", "第几次入会")),
            turn="membership",
        ),
        Kind(
            "products",
            _heads(
                ("owner_uscc", "供方代码"),
                ("product_code", "产品编码"),
                ("kind", "产品类型"),
                ("version", "版本"),
                ("title", "产品名称"),
                ("abstract", "产品简介"),
                ("sector", "行业领域"),
                ("scenarios", "应用场景"),
                ("source_type", "数据来源"),
                ("personal_information", "含个人信息"),
                ("legal_basis", "处理依据"),
                ("grade", "数据分级"),
                ("coverage", "覆盖范围"),
                ("record_count", "记录数"),
                ("update_frequency", "更新频率"),
                ("delivery_modes", "交付方式"),
                ("sample_sha256", "样例哈希"),
                ("rights", "权利"),
                ("ip_registration", "知识产权登记号"),
                ("assessor_uscc", "评估机构代码"),
                ("security_assessment_sha256", "安全评估报告哈希"),
                ("price_model", "定价方式"),
                ("price_fen", "价格（分）"),
                ("vat_rate_bp", "税率（万分之一）"),
                ("visibility", "可见范围"),
                ("listed_on", "挂牌日期"),
                ("expires_on", "挂牌截止日期"),
                ("delisted_on", "摘牌日期"),
            ),
            ("owner_uscc", "product_code", "version"),
            _product,
            optional=_heads(("changes", "变更记录"), ("listing", "第几次挂牌")),
            turn="listing",
        ),
        Kind(
            "trades",
            _heads(
                ("seller_uscc", "供方代码"),
                ("buyer_uscc", "需方代码"),
                ("contract_number", "合同编号"),
                ("contract_sha256", "合同哈希"),
                ("product_code", "产品编码"),
                ("product_version", "产品版本"),
                ("mode", "交易方式"),
                ("venue", "交易场所"),
                ("purpose", "用途"),
                ("quantity", "数量"),
                ("net_fen", "不含税金额（分）"),
                ("vat_fen", "税额（分）"),
                ("gross_fen", "价税合计（分）"),
                ("proposed_on", "提出日期"),
                ("effective_on", "成交日期"),
                ("received_on", "收到日期"),
                ("outcome", "结果"),
                ("ended_on", "终结日期"),
                ("reason", "原因"),
                ("delivery_terms", "交付条款"),
                ("acceptance_window_days", "验收期（天）"),
                ("buyer_ref", "需方参考号"),
                ("seller_ref", "供方参考号"),
                ("evidence_sha256", "证明材料哈希"),
            ),
            ("seller_uscc", "buyer_uscc", "contract_number", "contract_sha256"),
            _trade,
            _reversal,
            _heads(("reversed_on", "冲正日期"), ("record", "同一合同第几次登记")),
            "record",
        ),
    )
}

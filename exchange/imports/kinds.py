"""What can be imported: for each kind of file its columns, how a row is known, and the commands that it becomes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from exchange.imports.reading import Columns, Row
from exchange.journal.commands import Command
from exchange.listings.commands import RecordListing
from exchange.listings.rules import OfferFields, VersionFields
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
from exchange.members.commands import RecordMember
from exchange.members.rules import CompanyFields
from exchange.money import Money, Price
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

    @property
    def columns(self) -> Columns:
        """All of them."""
        return Columns(self.heads, self.optional)

    def content(self, row: Row) -> dict[str, str]:
        """Give what a row says, by which its request is known again: the same from any sort of file, with or without blank optional columns."""
        return {
            name: value for name, value in row.cells.items() if name in self.heads or (value and name in self.optional)
        }

    def key(self, row: Row) -> str:
        """Give the idempotency key of a row: it depends on what the row is about, never on where it stands."""
        natural = "\n".join(row.given(name) for name in self.natural)
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
        row.text("uscc"), fields, row.day("applied_on"), row.day("admitted_on"), row.maybe_day("withdrawn_on")
    )


def _product(row: Row) -> Command:
    price = row.maybe_whole("price_fen")
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
    offer = OfferFields(
        price_model=row.one_of("price_model", PriceModel),
        price=None if price is None else Money(price),
        vat_rate_bp=row.whole("vat_rate_bp"),
        visibility=row.one_of("visibility", Visibility),
        expires_on=row.maybe_day("expires_on"),
    )
    return RecordListing(
        owner_uscc=row.text("owner_uscc"),
        code=row.text("product_code"),
        kind=row.one_of("kind", ProductKind),
        number=row.whole("version"),
        version=version,
        offer=offer,
        listed_on=row.day("listed_on"),
        delisted_on=row.maybe_day("delisted_on"),
        assessor_uscc=row.maybe("assessor_uscc"),
        security_assessment_sha256=row.maybe("security_assessment_sha256"),
    )


REVERSED: Final = "reversed"


def _trade(row: Row) -> Command:
    """Make the record of a trade. A reversed one is recorded as contracted: its reversal needs two persons of today."""
    reversal = row.given("outcome") == REVERSED
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
    row.maybe_day("ended_on")  # when it was seen to be wrong; the day of the reversal itself is derived on approval
    reason = row.text("reason")
    ProposeReversal(0, reason)  # type: ignore[arg-type]  # only to check the reason before anything is recorded
    return lambda number: ProposeReversal(number, reason)  # type: ignore[arg-type]  # the trade's number


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
        ),
    )
}

"""What is stored of products and their offers."""

from datetime import date
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import CheckConstraint, Index, UniqueConstraint

from exchange.columns import BIG, DAY, FEN, FLAG, TEXT, TEXTS, Sort, Stored, column, named, one_of
from exchange.identifiers import ListingId, MemberId, ProductId, VersionId
from exchange.listings.states import ListingState
from exchange.money import Money


class ProductKind(StrEnum):
    """What a product is."""

    DATASET = "dataset"
    API = "api"
    REPORT = "report"
    APPLICATION = "application"
    MODEL = "model"
    SERVICE = "service"
    COMPUTE = "compute"


class Sector(StrEnum):
    """The trade that its data is of."""

    GOVERNMENT = "government"
    FINANCE = "finance"
    MANUFACTURING = "manufacturing"
    TRANSPORT = "transport"
    HEALTH = "health"
    ENERGY = "energy"
    CULTURE = "culture"
    AGRICULTURE = "agriculture"
    OTHER = "other"


class DataGrade(StrEnum):
    """GB/T 43697-2024. Core data is never listed."""

    CORE = "core"
    IMPORTANT = "important"
    GENERAL = "general"


class SourceType(StrEnum):
    """Where its data comes from."""

    FIRST_PARTY = "first_party"
    PUBLIC = "public"
    LICENSED = "licensed"
    DERIVED = "derived"


class LegalBasis(StrEnum):
    """On what personal information is processed."""

    CONSENT = "consent"
    CONTRACT = "contract"
    PUBLIC_INTEREST = "public_interest"
    ANONYMISED = "anonymised"


class UpdateFrequency(StrEnum):
    """How often its data is renewed."""

    REALTIME = "realtime"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"
    ONCE = "once"


class DeliveryMode(StrEnum):
    """How a buyer gets it."""

    DOWNLOAD = "download"
    API = "api"
    SANDBOX = "sandbox"
    PRIVATE_COMPUTE = "private_compute"


class RightKind(StrEnum):
    """The rights on which an owner may sell."""

    HOLD = "hold"
    USE = "use"
    OPERATE = "operate"


class PriceModel(StrEnum):
    """How a listing is priced."""

    FIXED = "fixed"
    PER_CALL = "per_call"
    SUBSCRIPTION = "subscription"
    NEGOTIABLE = "negotiable"


class Visibility(StrEnum):
    """Who sees a listing."""

    PUBLIC = "public"
    MEMBERS = "members"


class AssessmentKind(StrEnum):
    """What a service organisation has assessed."""

    COMPLIANCE = "compliance"
    QUALITY = "quality"
    SECURITY = "security"


class DataProduct(Stored, table=True):
    """What is sold, under its owner's code."""

    __table_args__ = (UniqueConstraint("owner_id", "code"), Index(None, "owner_id", "id"), one_of("kind", ProductKind))
    sort: ClassVar = Sort.CURRENT
    kept: ClassVar = True

    id: ProductId = column(BIG, primary_key=True)
    owner_id: MemberId = column(BIG, foreign_key="member.id")
    code: str = column(TEXT)
    kind: ProductKind = column(named(ProductKind))
    versions: int = column(BIG)
    """The number of the newest version."""
    current_listing_id: ListingId | None = column(BIG)
    """The listing that is listed or suspended; a newer one, once approved, takes its place."""
    changed_at: int = column(BIG)


class ProductVersion(Stored, table=True):
    """An immutable description of a product."""

    __table_args__ = (
        UniqueConstraint("product_id", "number"),
        one_of("sector", Sector),
        one_of("source_type", SourceType),
        one_of("legal_basis", LegalBasis),
        one_of("grade", DataGrade),
        one_of("update_frequency", UpdateFrequency),
        CheckConstraint("grade <> 'core'", name="core_is_never_listed"),
        CheckConstraint("record_count >= 0", name="record_count_not_negative"),
        CheckConstraint("(legal_basis IS NOT NULL) = personal_information", name="personal_information_has_a_basis"),
    )
    sort: ClassVar = Sort.POSTED
    kept: ClassVar = True

    id: VersionId = column(BIG, primary_key=True)
    product_id: ProductId = column(BIG, foreign_key="data_product.id")
    number: int = column(BIG)
    title: str = column(TEXT)
    abstract: str = column(TEXT)
    sector: Sector = column(named(Sector))
    scenarios: str = column(TEXT)
    source_type: SourceType = column(named(SourceType))
    personal_information: bool = column(FLAG)
    legal_basis: LegalBasis | None = column(named(LegalBasis))
    grade: DataGrade = column(named(DataGrade))
    coverage: str = column(TEXT)
    record_count: int = column(BIG)
    update_frequency: UpdateFrequency = column(named(UpdateFrequency))
    delivery_modes: tuple[str, ...] = column(TEXTS)
    sample_sha256: str | None = column(TEXT)
    rights: tuple[str, ...] = column(TEXTS)
    """Each `kind` or `kind:YYYY-MM-DD`, the last day on which it holds."""
    rights_expire_on: date | None = column(DAY)
    """The earliest of those days: a sale rests on all rights cited."""
    ip_registration: str | None = column(TEXT)


class Assessment(Stored, table=True):
    """What a service organisation, neither the owner nor related to it, found of a version; the report by its hash."""

    __table_args__ = (one_of("kind", AssessmentKind), Index(None, "version_id"))
    sort: ClassVar = Sort.POSTED
    lists: ClassVar = (("version_id",),)

    id: int = column(BIG, primary_key=True)
    version_id: VersionId = column(BIG, foreign_key="product_version.id")
    kind: AssessmentKind = column(named(AssessmentKind))
    assessor_id: MemberId = column(BIG, foreign_key="member.id")
    report_sha256: str = column(TEXT)
    assessed_on: date = column(DAY)


class Listing(Stored, table=True):
    """An offer of a version for sale. The price includes VAT."""

    __table_args__ = (
        one_of("state", ListingState),
        one_of("price_model", PriceModel),
        one_of("visibility", Visibility),
        CheckConstraint("(price IS NULL) = (price_model = 'negotiable')", name="negotiable_has_no_price"),
        CheckConstraint("price > 0", name="price_positive"),
        CheckConstraint("vat_rate_bp BETWEEN 0 AND 10000", name="vat_rate_in_basis_points"),
        Index(None, "version_id"),
        Index(None, "owner_id", "id"),
        Index(None, "state", "id"),
    )
    sort: ClassVar = Sort.CURRENT
    lists: ClassVar = (("version_id",),)
    kept: ClassVar = True

    id: ListingId = column(BIG, primary_key=True)
    version_id: VersionId = column(BIG, foreign_key="product_version.id")
    product_id: ProductId = column(BIG, foreign_key="data_product.id")
    owner_id: MemberId = column(BIG, foreign_key="member.id")
    state: ListingState = column(named(ListingState))
    price_model: PriceModel = column(named(PriceModel))
    price: Money | None = column(FEN)
    vat_rate_bp: int = column(BIG)
    visibility: Visibility = column(named(Visibility))
    expires_on: date | None = column(DAY)
    """The last day on which it is for sale."""
    changed_on: date = column(DAY)
    """The business date of its last change of state: from it on, the row says how it stands."""
    changed_at: int = column(BIG)


class ListingHistory(Stored, table=True):
    """One change of a listing's state, by business date and position. Both only grow, for each listing."""

    __table_args__ = (
        one_of("state", ListingState),
        Index(None, "listing_id", "position", "number"),
        Index(None, "effective_on"),
    )
    sort: ClassVar = Sort.POSTED
    lists: ClassVar = (("listing_id",),)

    position: int = column(BIG, primary_key=True)
    number: int = column(BIG, primary_key=True)
    listing_id: ListingId = column(BIG, foreign_key="listing.id")
    state: ListingState = column(named(ListingState))
    effective_on: date = column(DAY)

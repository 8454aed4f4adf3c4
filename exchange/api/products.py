"""Products, their versions and assessments over HTTP."""

from typing import Annotated, Final

from pydantic import Field
from starlette.requests import Request

from exchange.access.callers import KeyHolder
from exchange.access.tables import EVERYBODY
from exchange.agents.steps import PRODUCT_STEPS
from exchange.api.bodies import Body
from exchange.api.doors import Read, Route, Write, path_id, seen_by
from exchange.api.lists import Page, PageShape, after, cut
from exchange.api.shapes import SHA256_EXAMPLE, Day, Name, Nothing, Paragraph, Reference, Sha256, example, patterned
from exchange.identifiers import Prefix, ProductId, VersionId, written_id
from exchange.listings import commands
from exchange.listings.queries import find_product, list_products
from exchange.listings.rules import CODE_PATTERN, RIGHT_PATTERN, VersionFields
from exchange.listings.tables import (
    AssessmentKind,
    DataGrade,
    DataProduct,
    DeliveryMode,
    LegalBasis,
    ProductKind,
    ProductVersion,
    Sector,
    SourceType,
    UpdateFrequency,
)
from exchange.members.tables import Member


class NewProduct(Body):
    """A product under its owner's own code."""

    model_config = example(code="HN-FIN-0012", kind="dataset")

    code: Annotated[str, patterned(CODE_PATTERN)] = Field(examples=["HN-FIN-0012"])
    kind: ProductKind


class VersionBody(Body):
    """How a version is described, for good."""

    model_config = example(
        title="企业信用风险评分数据集",
        abstract="Credit scores of companies, with their history",
        sector="finance",
        scenarios="Credit risk",
        source_type="first_party",
        personal_information=False,
        grade="general",
        coverage="湖南省，2015–2023",
        record_count=1_200_000,
        update_frequency="daily",
        delivery_modes=["api"],
        rights=["use:2027-12-31"],
    )

    title: Name = Field(examples=["企业信用风险评分数据集"])
    abstract: Paragraph
    sector: Sector
    scenarios: Paragraph
    source_type: SourceType
    personal_information: bool
    legal_basis: LegalBasis | None = Field(
        None, description="given where there is personal information, and only there"
    )
    grade: DataGrade = Field(description="GB/T 43697-2024; core data is never listed")
    coverage: Name = Field(examples=["湖南省，2015–2023"])
    record_count: int
    update_frequency: UpdateFrequency
    delivery_modes: tuple[DeliveryMode, ...]
    rights: tuple[Annotated[str, patterned(RIGHT_PATTERN)], ...] = Field(
        description="hold, use, operate, each perhaps with the last day on which it holds",
        examples=[["use:2027-12-31"]],
    )
    sample_sha256: Sha256 | None = None
    ip_registration: Reference | None = None

    @property
    def fields(self) -> VersionFields:
        """The same for the command."""
        return VersionFields(**self.model_dump())


class VersionShape(VersionBody):
    """A version."""

    id: str
    number: int
    rights_expire_on: Day | None


class AssessmentBody(Body):
    """What a service organisation found."""

    model_config = example(kind="security", report_sha256=SHA256_EXAMPLE)

    kind: AssessmentKind
    report_sha256: Sha256


class ProductRow(Body):
    """A product in a list."""

    id: str
    owner: str
    code: str
    kind: ProductKind
    versions: int
    current_listing: str | None
    changed_at: int = Field(description="position of the last change")


class ProductShape(ProductRow):
    """A product with all its versions."""

    described: list[VersionShape]


class ProductList(PageShape):
    """A page of products, the oldest first."""

    data: list[ProductRow]


def shape_version(version: ProductVersion) -> VersionShape:
    """Shape a version."""
    values = version.model_dump(exclude={"id", "product_id"})
    return VersionShape(id=written_id(Prefix.VERSION, version.id), **values)


def _row(product: DataProduct, owner: Member) -> dict[str, object]:
    current = product.current_listing_id
    return {
        "id": written_id(Prefix.PRODUCT, product.id),
        "owner": written_id(Prefix.MEMBER, owner.id),
        "code": product.code,
        "kind": product.kind,
        "versions": product.versions,
        "current_listing": None if current is None else written_id(Prefix.LISTING, current),
        "changed_at": product.changed_at,
    }


async def _list(request: Request, caller: KeyHolder, asked: Page) -> ProductList:
    place = after(request, caller, asked)
    rows = await seen_by(request, caller, list_products, caller.uscc, place[0] if place else None, asked.limit + 1)
    page, following = cut(request, caller, asked, rows, lambda row: [row[0].id])
    return ProductList(
        data=[ProductRow.model_validate(_row(product, owner)) for product, owner in page],
        next=following,
    )


async def _show(request: Request, caller: KeyHolder, _: Nothing) -> ProductShape:
    number = ProductId(path_id(request, Prefix.PRODUCT))
    found = await seen_by(request, caller, find_product, number, caller.uscc)
    described = [shape_version(version) for version in found.versions]
    return ProductShape.model_validate(_row(found.product, found.owner) | {"described": described})


ROUTES: Final[list[Route]] = [
    Write(
        path="/products",
        operation="register_product",
        summary="Open a product",
        commands=(commands.RegisterProduct,),
        make=lambda body, _, __: commands.RegisterProduct(body.code, body.kind),
        body=NewProduct,
        status=201,
    ),
    Read(
        path="/products",
        operation="list_products",
        summary="List products: to a member, its own",
        roles=EVERYBODY,
        answer=_list,
        query=Page,
        shape=ProductList,
        errors=(400, 401, 403),
        mandated=PRODUCT_STEPS,
    ),
    Read(
        path="/products/{id}",
        operation="show_product",
        summary="Show a product with its versions, to its owner and staff",
        roles=EVERYBODY,
        answer=_show,
        query=Nothing,
        shape=ProductShape,
        tagged=True,
        mandated=PRODUCT_STEPS,
    ),
    Write(
        path="/products/{id}/versions",
        operation="describe_version",
        summary="Describe the next version of a product",
        commands=(commands.DescribeVersion,),
        make=lambda body, number, _: commands.DescribeVersion(ProductId(number), body.fields),
        body=VersionBody,
        status=201,
        prefix=Prefix.PRODUCT,
    ),
    Write(
        path="/versions/{id}/assessments",
        operation="record_assessment",
        summary="Record, as a service organisation, what an assessment came to",
        commands=(commands.RecordAssessment,),
        make=lambda body, number, _: commands.RecordAssessment(VersionId(number), body.kind, body.report_sha256),
        body=AssessmentBody,
        status=201,
        prefix=Prefix.VERSION,
    ),
]

"""What can be done with products, versions and listings."""

from dataclasses import dataclass, fields
from datetime import date
from typing import ClassVar, Final

from exchange.access.tables import Role
from exchange.identifiers import (
    SHA256_RULE,
    USCC_RULE,
    ListingId,
    MemberId,
    Prefix,
    ProductId,
    VersionId,
    is_sha256,
    is_uscc,
    written_id,
)
from exchange.journal.commands import Command, Result
from exchange.journal.work import Need, Needs, UnitOfWork
from exchange.listings import rules
from exchange.listings.rules import OfferFields, ProductFieldsWrong, VersionFields
from exchange.listings.states import ListingState, ListingStep
from exchange.listings.tables import (
    Assessment,
    AssessmentKind,
    DataGrade,
    DataProduct,
    Listing,
    ListingHistory,
    ProductKind,
    ProductVersion,
)
from exchange.members.commands import OPERATOR_ONLY, OPERATOR_OR_MEMBER, check_reason
from exchange.members.rules import Standing
from exchange.members.standing import (
    active_standing,
    acts_for,
    business_day_of_change,
    check_past,
    earlier_needed,
    history_needed,
    own_company_needed,
    own_member_id,
    party_needed,
)
from exchange.members.tables import Company, Member, MemberRole
from exchange.problems import Conflict, Fault, Forbidden, Invalid, Problem, unseen

OWNER_ONLY: Final = frozenset({Role.MEMBER})
BY_CODE: Final = ("owner_id", "code")
BY_NUMBER: Final = ("product_id", "number")
BY_VERSION: Final = ("version_id",)


class NotAProvider(Conflict):
    """Only a provider owns products."""

    remedy = "Have the role `provider` added to the membership."


class CodeTaken(Conflict):
    """The owner has a product with this code."""

    remedy = "Add a version to it, or choose another code."


class OwnersStep(Forbidden):
    """Only the owner of the product does this."""

    remedy = "Ask the owner."


class AssessorNotIndependent(Conflict):
    """The assessor is no service organisation, or is the owner or related to it."""

    remedy = "Have a service organisation of another group assess it."


class AssessmentMissing(Conflict):
    """Important data needs a security assessment before it is listed."""

    remedy = "Have a service organisation record one of kind `security`."


class VersionOutOfTurn(Conflict):
    """Versions of a product are numbered 1, 2, 3 …, and each is listed once."""

    remedy = "Record the versions in their order."


def answer(listing: Listing, **more: object) -> Result:
    """Give what the commands on a listing answer."""
    return {"id": written_id(Prefix.LISTING, listing.id), "state": listing.state} | more


def own_product(work: UnitOfWork, product: DataProduct) -> Member:
    """Give the owner of a product to the owner itself. To any other company there is no such product. Raises NotFound."""
    if not acts_for(work, product.owner_id):
        raise unseen()
    return work.get(Member, product.owner_id)


def _owner(thing: DataProduct | Listing | None) -> list[MemberId]:
    return [] if thing is None else [thing.owner_id]


def _product_needed(work: UnitOfWork, version_id: VersionId) -> Need:
    """Ask for the product of a version; where there is none, for one under the same number, so that nobody can tell which it was."""
    version = work.find(ProductVersion, version_id)
    return Need(DataProduct, version_id if version is None else version.product_id)


def _product_of(work: UnitOfWork, version_id: VersionId) -> DataProduct | None:
    version = work.find(ProductVersion, version_id)
    return None if version is None else work.find(DataProduct, version.product_id)


def check_provider(work: UnitOfWork, owner: Member, day: date) -> None:
    """Check that a member may own and list products on a day. Raises NotActive, NotAProvider."""
    active_standing(work, owner, day, "owner")
    if MemberRole.PROVIDER not in owner.roles:
        raise NotAProvider("The company does not have the role `provider`.")


def add_product(work: UnitOfWork, owner_id: MemberId, code: str, kind: ProductKind) -> DataProduct:
    """Open a product without versions."""
    return work.insert(
        DataProduct,
        id=ProductId(work.position),
        owner_id=owner_id,
        code=code,
        kind=kind,
        versions=0,
        current_listing_id=None,
        changed_at=work.position,
    )


def add_version(work: UnitOfWork, product: DataProduct, fields: VersionFields) -> ProductVersion:
    """Describe the next version of a product."""
    work.change(product, versions=product.versions + 1, changed_at=work.position)
    return work.insert(
        ProductVersion,
        id=VersionId(work.position),
        product_id=product.id,
        number=product.versions,
        title=fields.title,
        abstract=fields.abstract,
        sector=fields.sector,
        scenarios=fields.scenarios,
        source_type=fields.source_type,
        personal_information=fields.personal_information,
        legal_basis=fields.legal_basis,
        grade=fields.grade,
        coverage=fields.coverage,
        record_count=fields.record_count,
        update_frequency=fields.update_frequency,
        delivery_modes=fields.delivery_modes,
        sample_sha256=fields.sample_sha256,
        rights=fields.rights,
        rights_expire_on=rules.rights_expire_on(fields.rights),
        ip_registration=fields.ip_registration,
    )


def add_listing(
    work: UnitOfWork, version: ProductVersion, owner_id: MemberId, offer: OfferFields, day: date
) -> Listing:
    """Draft an offer of a version."""
    listing = work.insert(
        Listing,
        id=ListingId(work.position),
        version_id=version.id,
        product_id=version.product_id,
        owner_id=owner_id,
        state=ListingState.DRAFT,
        price_model=offer.price_model,
        price=offer.price,
        vat_rate_bp=offer.vat_rate_bp,
        visibility=offer.visibility,
        expires_on=offer.expires_on,
        changed_on=day,
        changed_at=work.position,
    )
    _note(work, listing, day, number=1)
    return listing


def _note(work: UnitOfWork, listing: Listing, day: date, number: int) -> None:
    work.insert(
        ListingHistory,
        position=work.position,
        number=number,
        listing_id=listing.id,
        state=listing.state,
        effective_on=day,
    )


def move(work: UnitOfWork, listing: Listing, step: ListingStep, day: date, number: int = 1) -> None:
    """Take a listing one step on: its state and its history."""
    work.change(listing, state=rules.next_state(listing.state, step), changed_on=day, changed_at=work.position)
    _note(work, listing, day, number)


def take_place(work: UnitOfWork, product: DataProduct, listing: Listing, day: date, number: int) -> Listing | None:
    """Make a listing the product's current one. The one before it, where there is one, is delisted and given back."""
    before = work.get(Listing, product.current_listing_id) if product.current_listing_id is not None else None
    if before is not None:
        if day < before.changed_on:
            raise VersionOutOfTurn(f"The listing before it took effect on {before.changed_on}.")
        move(work, before, ListingStep.DELIST, day, number)
    work.change(product, current_listing_id=listing.id, changed_at=work.position)
    return before


@dataclass(frozen=True, slots=True)
class RegisterProduct(Command):
    """Open a product under the owner's own code."""

    allowed: ClassVar = OWNER_ONLY

    code: str
    kind: ProductKind

    def __post_init__(self) -> None:
        """Check the code. Raises ProductFieldsWrong."""
        rules.check_code(self.code)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the owner, and whether it has such a product."""
        yield own_company_needed(work)
        if member_id := own_member_id(work):
            yield [*party_needed(member_id), Need(DataProduct, (member_id, self.code), BY_CODE)]

    def decide(self, work: UnitOfWork) -> Result:
        """Open it."""
        owner = _acting_member(work)
        check_provider(work, owner, work.today)
        if work.find(DataProduct, (owner.id, self.code), BY_CODE) is not None:
            raise CodeTaken("There is a product with this code.", Fault("/code", "must be new for its owner"))
        product = add_product(work, owner.id, self.code, self.kind)
        work.tell("product.registered", owner.id, acting=owner.id)
        return {"id": written_id(Prefix.PRODUCT, product.id), "code": product.code}


@dataclass(frozen=True, slots=True)
class DescribeVersion(Command):
    """Describe the next version of a product, for good."""

    allowed: ClassVar = OWNER_ONLY

    product_id: ProductId
    fields: VersionFields

    def __post_init__(self) -> None:
        """Check the description. Raises ProductFieldsWrong, CoreDataRefused."""
        rules.check_version(self.fields)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the product and its owner."""
        yield [Need(DataProduct, self.product_id), *own_company_needed(work)]
        product = work.find(DataProduct, self.product_id)
        yield from earlier_needed(work, *_owner(product))
        if product is not None and acts_for(work, product.owner_id):
            yield [*party_needed(product.owner_id), Need(ProductVersion, (product.id, product.versions + 1), BY_NUMBER)]

    def decide(self, work: UnitOfWork) -> Result:
        """Add it."""
        product = work.get(DataProduct, self.product_id)
        owner = own_product(work, product)
        work.met(product.changed_at)
        check_provider(work, owner, work.today)
        version = add_version(work, product, self.fields)
        work.tell("version.described", owner.id, acting=own_member_id(work))
        return {
            "id": written_id(Prefix.VERSION, version.id),
            "product": written_id(Prefix.PRODUCT, product.id),
            "number": version.number,
        }


@dataclass(frozen=True, slots=True)
class RecordAssessment(Command):
    """Say, as a service organisation, what an assessment of a version came to; the report by its hash."""

    allowed: ClassVar = OWNER_ONLY

    version_id: VersionId
    kind: AssessmentKind
    report_sha256: str

    def __post_init__(self) -> None:
        """Check the hash. Raises ProductFieldsWrong."""
        if not is_sha256(self.report_sha256):
            raise ProductFieldsWrong("The report's hash breaks a rule.", Fault("/report_sha256", SHA256_RULE))

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the version, its product, the owner and the assessor."""
        yield [Need(ProductVersion, self.version_id), *own_company_needed(work)]
        assessor_id = own_member_id(work)
        yield [_product_needed(work, self.version_id), *(party_needed(assessor_id) if assessor_id else [])]
        product = _product_of(work, self.version_id)
        if product is not None and _can_assess(work):
            yield party_needed(product.owner_id)

    def decide(self, work: UnitOfWork) -> Result:
        """Record it."""
        # First what is asked of the assessor alone: to who cannot assess, no answer tells which versions there are.
        assessor = _acting_member(work)
        check_assessor(work, assessor, work.today)
        version = work.get(ProductVersion, self.version_id)
        owner = work.get(Member, work.get(DataProduct, version.product_id).owner_id)
        check_independent(work, owner, assessor, work.today)
        assessment = work.insert(
            Assessment,
            id=work.position,
            version_id=version.id,
            kind=self.kind,
            assessor_id=assessor.id,
            report_sha256=self.report_sha256,
            assessed_on=work.today,
        )
        work.tell("version.assessed", owner.id, assessor.id, acting=assessor.id)
        return {
            "id": written_id(Prefix.ASSESSMENT, assessment.id),
            "version": written_id(Prefix.VERSION, version.id),
            "kind": assessment.kind,
        }


def _can_assess(work: UnitOfWork) -> bool:
    try:
        check_assessor(work, _acting_member(work), work.today)
    except Problem:
        return False
    return True


def check_assessor(work: UnitOfWork, assessor: Member, day: date) -> Standing:
    """Check that a member may assess at all, and say how it stands. Raises NotActive, AssessorNotIndependent."""
    found = active_standing(work, assessor, day, "assessor")
    if MemberRole.SERVICE_ORG not in assessor.roles:
        raise AssessorNotIndependent("The assessor does not have the role `service_org`.")
    return found


def check_independent(work: UnitOfWork, owner: Member, assessor: Member, day: date) -> None:
    """Check that an assessor may assess an owner's version. Raises NotActive, AssessorNotIndependent."""
    assessing = check_assessor(work, assessor, day)
    if assessing.group == active_standing(work, owner, day, "owner").group:
        raise AssessorNotIndependent("The assessor is the owner, or of its group.")


@dataclass(frozen=True, slots=True)
class DraftListing(Command):
    """Draft an offer of a version."""

    allowed: ClassVar = OWNER_ONLY

    version_id: VersionId
    offer: OfferFields

    def __post_init__(self) -> None:
        """Check the terms. Raises ProductFieldsWrong."""
        rules.check_offer(self.offer)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the version, its product and the owner."""
        yield [Need(ProductVersion, self.version_id), *own_company_needed(work)]
        yield [_product_needed(work, self.version_id)]
        product = _product_of(work, self.version_id)
        yield from earlier_needed(work, *_owner(product))
        if product is not None and acts_for(work, product.owner_id):
            yield party_needed(product.owner_id)

    def decide(self, work: UnitOfWork) -> Result:
        """Draft it."""
        version = work.get(ProductVersion, self.version_id)
        owner = own_product(work, work.get(DataProduct, version.product_id))
        check_provider(work, owner, work.today)
        if self.offer.expires_on is not None and self.offer.expires_on < work.today:
            raise ProductFieldsWrong("The term is over already.", Fault("/expires_on", "must not lie in the past"))
        listing = add_listing(work, version, owner.id, self.offer, work.today)
        work.tell("listing.drafted", owner.id, acting=own_member_id(work))
        return answer(listing)


@dataclass(frozen=True, slots=True)
class _ListingStepCommand(Command):
    """One step of an existing listing, with a reason."""

    allowed: ClassVar = OPERATOR_ONLY
    step: ClassVar[ListingStep]
    kind: ClassVar[str]

    listing_id: ListingId
    reason: str
    effective_on: date | None = None

    def __post_init__(self) -> None:
        """Check the reason. Raises ReasonWrong."""
        check_reason(self.reason)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for the listing, its product and the owner."""
        yield [Need(Listing, self.listing_id), *own_company_needed(work)]
        listing = work.find(Listing, self.listing_id)
        yield from earlier_needed(work, *_owner(listing))
        if listing is not None and acts_for(work, listing.owner_id):
            yield [
                *party_needed(listing.owner_id),
                Need(DataProduct, listing.product_id),
                Need(ProductVersion, listing.version_id),
            ]

    def decide(self, work: UnitOfWork) -> Result:
        """Take the step."""
        listing = work.get(Listing, self.listing_id)
        owner = own_listing(work, listing)
        product = work.get(DataProduct, listing.product_id)
        work.met(listing.changed_at)
        rules.next_state(listing.state, self.step)
        day = business_day_of_change(work, self.effective_on, listing.changed_on)
        self.follow(work, listing, product, owner, day)
        move(work, listing, self.step, day)
        work.tell(self.kind, owner.id, acting=own_member_id(work), reason=self.reason)
        return answer(listing)

    def follow(self, work: UnitOfWork, listing: Listing, product: DataProduct, owner: Member, day: date) -> None:
        """Check what else must hold, and do what else follows."""


def own_listing(work: UnitOfWork, listing: Listing) -> Member:
    """Give the owner of a listing to the owner and to staff. Others see it where it is for sale, but may not touch it.

    Raises NotFound, OwnersStep.
    """
    if acts_for(work, listing.owner_id):
        return work.get(Member, listing.owner_id)
    if listing.state is ListingState.LISTED:
        raise OwnersStep("The listing is another member's.")
    raise unseen()


class SubmitListing(_ListingStepCommand):
    """Hand a drafted listing in for review."""

    __slots__ = ()
    allowed = OWNER_ONLY
    step = ListingStep.SUBMIT
    kind = "listing.submitted"

    def follow(self, work: UnitOfWork, listing: Listing, product: DataProduct, owner: Member, day: date) -> None:
        """Check the owner. Raises NotActive, NotAProvider."""
        check_provider(work, owner, day)


class ApproveListing(_ListingStepCommand):
    """Approve a listing: it is for sale, and takes the place of the product's former one."""

    __slots__ = ()
    step = ListingStep.APPROVE
    kind = "listing.listed"

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask also for the assessments and the listing that it replaces."""
        yield from _ListingStepCommand.needs(self, work)
        listing = work.find(Listing, self.listing_id)
        if listing is not None and acts_for(work, listing.owner_id):
            product = work.find(DataProduct, listing.product_id)
            before = product.current_listing_id if product else None
            yield [
                Need(Assessment, listing.version_id, BY_VERSION),
                *([Need(Listing, before)] if before is not None else []),
                *history_needed(work, [listing.owner_id], self.effective_on or work.today),
            ]

    def follow(self, work: UnitOfWork, listing: Listing, product: DataProduct, owner: Member, day: date) -> None:
        """Check owner and assessments, and replace the former listing. Raises NotActive, NotAProvider, AssessmentMissing."""
        check_provider(work, owner, day)
        version = work.get(ProductVersion, listing.version_id)
        kinds = {assessment.kind for assessment in work.all(Assessment, version.id, BY_VERSION)}
        if version.grade is DataGrade.IMPORTANT and AssessmentKind.SECURITY not in kinds:
            raise AssessmentMissing("The version is of important grade and has no security assessment.")
        take_place(work, product, listing, day, number=2)


class RejectListing(_ListingStepCommand):
    """Reject a listing in review."""

    __slots__ = ()
    step = ListingStep.REJECT
    kind = "listing.rejected"


class SuspendListing(_ListingStepCommand):
    """Suspend a listing: it is not for sale until resumed."""

    __slots__ = ()
    step = ListingStep.SUSPEND
    kind = "listing.suspended"


class ResumeListing(_ListingStepCommand):
    """Put a suspended listing up for sale again."""

    __slots__ = ()
    step = ListingStep.RESUME
    kind = "listing.resumed"


class DelistListing(_ListingStepCommand):
    """Take a listing off sale for good."""

    __slots__ = ()
    allowed = OPERATOR_OR_MEMBER
    step = ListingStep.DELIST
    kind = "listing.delisted"

    def follow(self, work: UnitOfWork, listing: Listing, product: DataProduct, owner: Member, day: date) -> None:
        """Leave the product without a current listing."""
        work.change(product, current_listing_id=None, changed_at=work.position)


@dataclass(frozen=True, slots=True)
class RecordListing(Command):
    """Record an old listing with its version (import): listed, suspended, resumed and perhaps delisted on given days, as one event.

    The product is opened with its first version. A version that was never listed is recorded without offer and day.
    """

    allowed: ClassVar = OPERATOR_ONLY

    owner_uscc: str
    code: str
    kind: ProductKind
    number: int
    version: VersionFields
    offer: OfferFields | None
    listed_on: date | None
    delisted_on: date | None = None
    assessor_uscc: str | None = None
    security_assessment_sha256: str | None = None
    changes: tuple[tuple[date, ListingStep], ...] = ()
    """The days on which it was suspended and resumed, in their order."""
    again: bool = False
    """Whether the version was recorded before, and is but listed once more."""

    def __post_init__(self) -> None:
        """Check all fields. Raises ProductFieldsWrong, CoreDataRefused."""
        rules.check_code(self.code)
        rules.check_version(self.version)
        if self.offer is not None:
            rules.check_offer(self.offer)
        faults = rules.old_listing_faults(self.listed_on, self.changes, self.delisted_on)
        if (self.offer is None) != (self.listed_on is None) or (self.again and self.offer is None):
            faults.append(Fault("/listed_on", "must be given with an offer, and only then"))
        if not is_uscc(self.owner_uscc):
            faults.append(Fault("/owner_uscc", USCC_RULE))
        if (self.assessor_uscc is None) != (self.security_assessment_sha256 is None):
            faults.append(Fault("/assessor_uscc", "must be given together with security_assessment_sha256"))
        elif self.security_assessment_sha256 is not None and not is_sha256(self.security_assessment_sha256):
            faults.append(Fault("/security_assessment_sha256", SHA256_RULE))
        if faults:
            raise ProductFieldsWrong(f"{len(faults)} of the fields break a rule.", *faults)

    def needs(self, work: UnitOfWork) -> Needs:
        """Ask for owner and assessor, the product, and the listing that it replaces."""
        companies = [uscc for uscc in (self.owner_uscc, self.assessor_uscc) if uscc is not None]
        yield [Need(Company, uscc) for uscc in companies]
        members = [company.member_id for uscc in companies if (company := work.find(Company, uscc))]
        owner = work.find(Company, self.owner_uscc)
        yield [
            *(need for member_id in members for need in party_needed(member_id)),
            *([Need(DataProduct, (owner.member_id, self.code), BY_CODE)] if owner else []),
        ]
        product = work.find(DataProduct, (owner.member_id, self.code), BY_CODE) if owner else None
        before = product.current_listing_id if product else None
        yield [
            *(history_needed(work, members, self.listed_on) if self.listed_on else []),
            *([Need(Listing, before)] if before is not None else []),
            *([Need(ProductVersion, (product.id, self.number), BY_NUMBER)] if product else []),
        ]

    def decide(self, work: UnitOfWork) -> Result:
        """Record product, version and listing at once."""
        for name, day in (
            ("listed_on", self.listed_on),
            ("changes", self._changed_on),
            ("delisted_on", self.delisted_on),
        ):
            if day is not None:
                check_past(work, day, name)
        owner = company_member(work, self.owner_uscc, "owner_uscc")
        product = work.find(DataProduct, (owner.id, self.code), BY_CODE)
        version = self._known(work, product) if self.again else None
        if version is None and self.number != (product.versions if product else 0) + 1:
            raise VersionOutOfTurn(
                "The version does not follow the newest one.", Fault("/version", "must be the next number")
            )
        if product is None:
            product = add_product(work, owner.id, self.code, self.kind)
        version = version or add_version(work, product, self.version)
        if self.offer is None or self.listed_on is None:
            work.tell("version.recorded", owner.id)
            return {"id": written_id(Prefix.VERSION, version.id), "product": written_id(Prefix.PRODUCT, product.id)}
        check_provider(work, owner, self.listed_on)
        parties = [owner.id]
        if self.assessor_uscc is not None:
            assessor = company_member(work, self.assessor_uscc, "assessor_uscc")
            check_independent(work, owner, assessor, self.listed_on)
            self._assess(work, version, assessor, self.listed_on)
            parties.append(assessor.id)
        elif version.grade is DataGrade.IMPORTANT and not self.again:
            raise AssessmentMissing("The version is of important grade and has no security assessment.")
        listing = add_listing(work, version, owner.id, self.offer, self.listed_on)
        move(work, listing, ListingStep.SUBMIT, self.listed_on, number=2)
        move(work, listing, ListingStep.APPROVE, self.listed_on, number=3)
        take_place(work, product, listing, self.listed_on, number=4)
        later = [*self.changes, *([(self.delisted_on, ListingStep.DELIST)] if self.delisted_on else [])]
        for number, (day, step) in enumerate(later, 5):
            move(work, listing, step, day, number)
        if self.delisted_on is not None:
            work.change(product, current_listing_id=None)
        steps = [ListingStep.SUBMIT, ListingStep.APPROVE, *(step for _, step in later)]
        work.tell("listing.recorded", *parties, steps=steps)
        return answer(
            listing, product=written_id(Prefix.PRODUCT, product.id), version=written_id(Prefix.VERSION, version.id)
        )

    @property
    def _changed_on(self) -> date | None:
        return self.changes[-1][0] if self.changes else None

    def _known(self, work: UnitOfWork, product: DataProduct | None) -> ProductVersion:
        """Give the version as it was recorded. Raises VersionOutOfTurn where there is none, or where it says something else."""
        version = work.find(ProductVersion, (product.id, self.number), BY_NUMBER) if product else None
        if version is None or any(
            getattr(version, field.name) != getattr(self.version, field.name) for field in fields(VersionFields)
        ):
            raise VersionOutOfTurn(
                "There is no such version with this description.",
                Fault("/version", "must have been recorded before with the same description"),
            )
        return version

    def _assess(self, work: UnitOfWork, version: ProductVersion, assessor: Member, day: date) -> None:
        assert self.security_assessment_sha256 is not None
        work.insert(
            Assessment,
            id=work.position,
            version_id=version.id,
            kind=AssessmentKind.SECURITY,
            assessor_id=assessor.id,
            report_sha256=self.security_assessment_sha256,
            assessed_on=day,
        )


class CompanyUnknown(Invalid):
    """No company with this code has ever been a member."""

    remedy = "Record the member first."


def company_member(work: UnitOfWork, uscc: str, name: str) -> Member:
    """Give the latest membership of a company, for staff. Raises CompanyUnknown, naming the field."""
    company = work.find(Company, uscc)
    if company is None:
        raise CompanyUnknown("The company has never been a member.", Fault(f"/{name}", "must be the code of a member"))
    return work.get(Member, company.member_id)


def _acting_member(work: UnitOfWork) -> Member:
    """Give the membership of the company that acts. Raises CompanyUnknown where it has none."""
    member_id = own_member_id(work)
    if member_id is None:
        raise CompanyUnknown("Your company has not applied for membership yet.")
    return work.get(Member, member_id)

"""Members over HTTP."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import StreamingResponse

from exchange.access.callers import KeyHolder
from exchange.access.tables import EVERYBODY, Role
from exchange.api.bodies import Body, wants
from exchange.api.doors import Read, Route, Write, path_id, seen_by
from exchange.api.lists import Page, PageShape, after, cursor, cut
from exchange.api.shapes import (
    USCC_EXAMPLE,
    Address,
    Day,
    MoneyShape,
    Name,
    Nothing,
    Reasoned,
    ReasonedOn,
    Searched,
    Sha256,
    Uscc,
    example,
    money_of,
    one_of,
    patterned,
)
from exchange.api.sheets import CSV_TYPE, SHEET_EXAMPLE, statement_sheet
from exchange.identifiers import MemberId, Prefix, written_id
from exchange.members import commands
from exchange.members.queries import MemberFilter, show_member, show_members
from exchange.members.rules import CORRECTABLE, INDUSTRY_PATTERN, REGION_PATTERN, CompanyFields
from exchange.members.states import MemberState
from exchange.members.tables import Member, MemberRole
from exchange.trades.queries import Balances, StatementLine, statement

APPLICATION_EXAMPLE: Final = {
    "legal_name": "湖南湘数科技有限公司",
    "short_name": "湘数科技",
    "legal_representative": "张三",
    "address": "长沙市岳麓区麓谷大道1号",
    "region_code": "430104",
    "industry_code": "I6510",
    "roles": ["provider", "consumer"],
    "contact": "0731-88880000",
}


Region = Annotated[str, patterned(REGION_PATTERN)]
Industry = Annotated[str, patterned(INDUSTRY_PATTERN)]


class Application(Body):
    """What a company says of itself."""

    model_config = example(**APPLICATION_EXAMPLE)

    legal_name: Name = Field(examples=["湖南湘数科技有限公司"])
    short_name: Name = Field(examples=["湘数科技"])
    legal_representative: Name = Field(description="Personal: kept erasably, never answered.", examples=["张三"])
    address: Address = Field(examples=["长沙市岳麓区麓谷大道1号"])
    region_code: Region = Field(description="GB/T 2260", examples=["430104"])
    industry_code: Industry = Field(description="GB/T 4754", examples=["I6510"])
    roles: tuple[MemberRole, ...] = Field(examples=[["provider", "consumer"]])
    contact: Name = Field(description="Personal: kept erasably, never answered.", examples=["0731-88880000"])
    group_parent_uscc: Uscc | None = None
    evidence: tuple[Sha256, ...] = Field((), description="SHA-256 of each document")

    @property
    def company(self) -> CompanyFields:
        """The same for the command."""
        return CompanyFields(**{field.name: getattr(self, field.name) for field in fields(CompanyFields)})


class NewApplication(Application):
    """An application for membership."""

    model_config = example(uscc=USCC_EXAMPLE, **APPLICATION_EXAMPLE)

    uscc: Uscc = Field(
        description="GB 32100-2015; a member's key applies for its own company only", examples=[USCC_EXAMPLE]
    )


class TypoBody(Reasoned):
    """A typo mended: which field, what shall stand there, and why."""

    model_config = example(field="address", value="长沙市岳麓区麓谷大道10号", reason="A digit was left out.")

    field: Annotated[str, one_of(CORRECTABLE)] = Field(examples=["address"])
    value: Address = Field(description="what shall stand there, by the rules of that field")


class MemberChange(Reasoned):
    """A renaming, a move, or a change of group."""

    model_config = example(reason="Renamed, as the register shows.", legal_name="湖南湘数科技股份有限公司")

    legal_name: Name | None = None
    short_name: Name | None = None
    region_code: Region | None = None
    group_parent_uscc: Uscc | None = None
    leaves_group: bool = False
    effective_on: Day | None = None


LOOKS_LIKE: Final = "For operators: others whose names look like its own (UTS 39), to see before it is admitted."


class MemberShape(Body):
    """A member. To other members only id, uscc, legal_name, roles and state are shown, and only while it is active."""

    id: str
    uscc: str
    state: MemberState
    legal_name: str
    roles: tuple[MemberRole, ...]
    short_name: str | None = None
    address: str | None = None
    region_code: str | None = None
    industry_code: str | None = None
    group_parent_uscc: str | None = None
    evidence: tuple[str, ...] | None = None
    applied_on: Day | None = None
    changed_on: Day | None = None
    open_trades: int | None = None
    changed_at: int | None = Field(None, description="position of the last change")
    looks_like: list[str] | None = Field(
        None,
        description=LOOKS_LIKE
        + " In a list, the oldest for each of its present names; on its own page, 20 at most, by old names too.",
        examples=[["mbr_000000000002"]],
    )


class MemberList(PageShape):
    """A page of members, in order of application."""

    data: list[MemberShape]


class MemberQuery(Page):
    """Which members."""

    state: MemberState | None = None
    uscc: Searched | None = None
    name: Searched | None = Field(
        None, description="any part of a name, or of the initials of its pinyin", examples=["xskj"]
    )


class StatementQuery(Page):
    """Which days, both included."""

    from_: Day = Field(alias="from")
    to: Day


class LineShape(Body):
    """One movement of a member's contracted volume."""

    position: int
    effective_on: Day
    trade: str
    contract_number: str
    side: str = Field(examples=["sales"])
    movement: str = Field(examples=["counted"])
    external_ref: str | None = Field(description="the member's own reference")
    counterparty_uscc: str
    counterparty_name: str
    gross: MoneyShape
    net_excluding_vat: MoneyShape
    vat: MoneyShape
    balance: MoneyShape = Field(description="of that side, after this line")


class BalancesShape(Body):
    """What a member has sold and bought, cumulative, net of what was taken back."""

    sales: MoneyShape
    purchases: MoneyShape


class StatementShape(PageShape):
    """A member's statement of its contracted volume. The lines of all its pages lead from `opening` to `closing`."""

    member: str
    position: int
    opening: BalancesShape
    data: list[LineShape]
    closing: BalancesShape
    ledger: BalancesShape | None = Field(
        description="what the accounts stand at, on the first page: what a statement to this day closes with, to the fen"
    )


def written_members(numbers: Iterable[MemberId] | None) -> list[str] | None:
    """Write the ids of members; null where they are not for who asks."""
    return None if numbers is None else [written_id(Prefix.MEMBER, number) for number in numbers]


def shape_member(member: Member, caller: KeyHolder, alike: Iterable[MemberId] | None = None) -> MemberShape:
    """Shape a member for who asks; `alike` are those that it looks like, for operators alone."""
    own = caller.uscc is None or caller.uscc == member.uscc
    shape: dict[str, Any] = {
        "id": written_id(Prefix.MEMBER, member.id),
        "uscc": member.uscc,
        "state": member.state,
        "legal_name": member.legal_name,
        "roles": member.roles,
        "looks_like": written_members(alike),
    }
    if own:
        names = ("short_name", "address", "region_code", "industry_code", "group_parent_uscc", "evidence")
        shape |= {
            name: getattr(member, name) for name in (*names, "applied_on", "changed_on", "open_trades", "changed_at")
        }
    return MemberShape(**shape)


def reviews(caller: KeyHolder) -> bool:
    """Tell whether somebody decides on applications."""
    return caller.role == Role.OPERATOR


async def _list(request: Request, caller: KeyHolder, asked: MemberQuery) -> MemberList:
    place = after(request, caller, asked)
    rows, alike = await seen_by(
        request,
        caller,
        show_members,
        caller.uscc,
        place[0] if place else None,
        asked.limit + 1,
        MemberFilter(asked.state, asked.uscc, asked.name),
        reviews=reviews(caller),
    )
    page, following = cut(request, caller, asked, rows, lambda member: [member.id])
    return MemberList(
        data=[shape_member(member, caller, alike and alike[member.id]) for member in page],
        next=following,
    )


async def _show(request: Request, caller: KeyHolder, _: Nothing) -> MemberShape:
    number = path_id(request, Prefix.MEMBER)
    member, alike = await seen_by(
        request,
        caller,
        show_member,
        MemberId(number),
        caller.uscc,
        reviews=reviews(caller),
    )
    return shape_member(member, caller, alike)


async def _statement(request: Request, caller: KeyHolder, asked: StatementQuery) -> StatementShape | StreamingResponse:
    number = MemberId(path_id(request, Prefix.MEMBER))
    if wants(request, CSV_TYPE):
        return await statement_sheet(request, caller, number, asked.from_, asked.to)
    place = after(request, caller, asked)
    found = await seen_by(
        request,
        caller,
        statement,
        number,
        asked.from_,
        asked.to,
        place,
        asked.limit,
        company=caller.uscc,
    )
    return StatementShape(
        member=written_id(Prefix.MEMBER, number),
        position=found.position,
        opening=_shape_balances(found.opening),
        data=[_line(line) for line in found.lines],
        closing=_shape_balances(found.closing),
        ledger=None if found.ledger is None else _shape_balances(found.ledger),
        next=cursor(request, caller, asked, found.next) if found.next else None,
    )


def _shape_balances(balances: Balances) -> BalancesShape:
    return BalancesShape(sales=money_of(balances.sales), purchases=money_of(balances.purchases))


def _line(line: StatementLine) -> LineShape:
    return LineShape(
        position=line.position,
        effective_on=line.effective_on,
        trade=written_id(Prefix.TRADE, line.trade_id),
        contract_number=line.contract_number,
        side=line.side,
        movement=line.movement,
        external_ref=line.own_ref,
        counterparty_uscc=line.counterparty_uscc,
        counterparty_name=line.counterparty_name,
        gross=money_of(line.gross),
        net_excluding_vat=money_of(line.net_excluding_vat),
        vat=money_of(line.vat),
        balance=money_of(line.balance),
    )


def _step(path: str, operation: str, summary: str, command: Any) -> Write[ReasonedOn]:
    return Write(
        path=f"/members/{{id}}/{path}",
        operation=operation,
        summary=summary,
        commands=(command,),
        make=lambda body, number, _: command(MemberId(number), body.reason, body.effective_on),
        body=ReasonedOn,
        prefix=Prefix.MEMBER,
    )


def _two(path: str, operation: str, summary: str, propose: Any, approve: Any) -> list[Route]:
    """Make the pair of routes of what needs two persons."""
    return [
        Write(
            path=f"/members/{{id}}/{path}",
            operation=f"propose_{operation}",
            summary=f"Propose to {summary}: another person decides",
            commands=(propose,),
            make=lambda body, number, _: propose(MemberId(number), body.reason),
            body=Reasoned,
            status=202,
            prefix=Prefix.MEMBER,
        ),
        Write(
            path=f"/members/{{id}}/{path}/approval",
            operation=f"approve_{operation}",
            summary=f"Approve another person's proposal to {summary}",
            commands=(approve,),
            make=lambda body, number, _: approve(MemberId(number), body.reason),
            body=Reasoned,
            prefix=Prefix.MEMBER,
        ),
    ]


ROUTES: Final[list[Route]] = [
    Write(
        path="/members",
        operation="apply_for_membership",
        summary="Apply for membership",
        commands=(commands.ApplyForMembership,),
        make=lambda body, _, __: commands.ApplyForMembership(body.uscc, body.company),
        body=NewApplication,
        status=201,
    ),
    Read(
        path="/members",
        operation="list_members",
        summary="List members: to a member, the active ones and its own",
        roles=EVERYBODY,
        answer=_list,
        query=MemberQuery,
        shape=MemberList,
        errors=(400, 401, 403),
    ),
    Read(
        path="/members/{id}",
        operation="show_member",
        summary="Show a member",
        roles=EVERYBODY,
        answer=_show,
        query=Nothing,
        shape=MemberShape,
        tagged=True,
    ),
    Read(
        path="/members/{id}/statement",
        operation="show_statement",
        summary="Show a member's statement: opening balance, lines, closing balance",
        roles=EVERYBODY,
        answer=_statement,
        query=StatementQuery,
        shape=StatementShape,
        sheet=SHEET_EXAMPLE,
    ),
    _step("review", "start_review", "Take an application into review", commands.StartReview),
    _step("correction-request", "request_correction", "Send an application back", commands.RequestCorrection),
    Write(
        path="/members/{id}/correction",
        operation="correct_application",
        summary="Answer a request for correction with the whole application anew",
        commands=(commands.CorrectApplication,),
        make=lambda body, number, _: commands.CorrectApplication(MemberId(number), body.company),
        body=Application,
        prefix=Prefix.MEMBER,
    ),
    _step("admission", "admit_member", "Admit a company", commands.AdmitMember),
    _step("rejection", "reject_member", "Reject an application", commands.RejectMember),
    _step("suspension", "suspend_member", "Suspend a member", commands.SuspendMember),
    _step("reinstatement", "reinstate_member", "Let a suspended member trade again", commands.ReinstateMember),
    _step("withdrawal", "withdraw_member", "End a membership at the member's wish", commands.WithdrawMember),
    Write(
        path="/members/{id}/change",
        operation="change_member",
        summary="Record that a member was renamed, moved, or changed its group",
        commands=(commands.ChangeMember,),
        make=lambda body, number, _: commands.ChangeMember(
            MemberId(number),
            body.reason,
            legal_name=body.legal_name,
            short_name=body.short_name,
            region_code=body.region_code,
            group_parent_uscc=body.group_parent_uscc,
            leaves_group=body.leaves_group,
            effective_on=body.effective_on,
        ),
        body=MemberChange,
        prefix=Prefix.MEMBER,
    ),
    Write(
        path="/members/{id}/typo",
        operation="correct_member",
        summary="Mend a typo in what a member is recorded with: what stood there before is kept",
        commands=(commands.CorrectMember,),
        make=lambda body, number, _: commands.CorrectMember(MemberId(number), body.field, body.value, body.reason),
        body=TypoBody,
        prefix=Prefix.MEMBER,
    ),
    *_two("expulsion", "expulsion", "expel a member", commands.ProposeExpulsion, commands.ApproveExpulsion),
    *_two(
        "readmission",
        "readmission",
        "let an expelled company apply again",
        commands.ProposeReadmission,
        commands.ApproveReadmission,
    ),
]

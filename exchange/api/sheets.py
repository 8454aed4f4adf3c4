"""Sheets: what an accountant opens in a spreadsheet. Streamed page by page, all as known at the first page's position."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import date
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import StreamingResponse

from exchange.access.callers import KeyHolder
from exchange.api.doors import seen_by
from exchange.identifiers import MemberId, Prefix, written_id
from exchange.money import Money, yuan_decimal
from exchange.trades.queries import Balances, Statement, StatementLine, statement

CSV_TYPE: Final = "text/csv"
PAGE: Final = 500
BYTE_ORDER_MARK: Final = "\ufeff"
"""Without it Excel takes UTF-8 for the local encoding."""

COLUMNS: Final = {
    "effective_on": "业务日期",
    "position": "账本位置",
    "trade": "交易编号",
    "contract_number": "合同编号",
    "external_ref": "我方编号",
    "side": "方向",
    "movement": "变动",
    "counterparty_uscc": "对方统一社会信用代码",
    "counterparty_name": "对方名称",
    "net_yuan": "不含税金额（元）",
    "vat_yuan": "税额（元）",
    "gross_yuan": "含税金额（元）",
    "balance_yuan": "累计（元）",
    "net_fen": "不含税金额（分）",
    "vat_fen": "税额（分）",
    "gross_fen": "含税金额（分）",
    "balance_fen": "累计（分）",
}
"""The columns of a statement, and how they are headed in Chinese."""

SHEET_EXAMPLE: Final = ",".join(COLUMNS)


async def statement_sheet(
    request: Request, caller: KeyHolder, member_id: MemberId, since: date, until: date
) -> StreamingResponse:
    """Answer with a whole period as CSV, opening and closing balances in lines of their own. Raises NotFound, PeriodWrong."""

    async def read(place: list[Any] | None) -> Statement:
        return await seen_by(request, caller, statement, member_id, since, until, place, PAGE, company=caller.uscc)

    first = await read(None)

    async def sheet() -> AsyncIterator[str]:
        chinese = request.headers.get("accept-language", "").lower().startswith("zh")
        yield BYTE_ORDER_MARK + _csv([COLUMNS.values() if chinese else COLUMNS])
        yield _csv(_balance_rows("opening", since, first.opening))
        page = first
        while True:
            yield _csv(_row(line) for line in page.lines)
            if page.next is None:
                break
            page = await read(page.next)
        yield _csv(_balance_rows("closing", until, first.closing))

    name = f"{written_id(Prefix.MEMBER, member_id)}_{since}_{until}_at_{first.position}.csv"
    return StreamingResponse(
        sheet(),
        media_type=f"{CSV_TYPE}; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"},
    )


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _row(line: StatementLine) -> list[Any]:
    amounts = (line.net_excluding_vat, line.vat, line.gross, line.balance)
    return [
        line.effective_on,
        line.position,
        written_id(Prefix.TRADE, line.trade_id),
        line.contract_number,
        line.own_ref,
        line.side,
        line.movement,
        line.counterparty_uscc,
        line.counterparty_name,
        *map(yuan_decimal, amounts),
        *amounts,
    ]


def _balance_rows(movement: str, day: date, balances: Balances) -> Iterable[list[Any]]:
    for side, stands in (("sales", balances.sales), ("purchases", balances.purchases)):
        yield [day, "", "", "", "", side, movement, "", "", "", "", "", yuan_decimal(Money(stands)), "", "", "", stands]

"""The headline as a picture: its figures, and how volume and members grew, month by month. Plain SVG, for light and dark pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from exchange.money import yuan_text
from exchange.regulator.queries import Standing, Summary

WIDTH: Final = 960
HEIGHT: Final = 400
MARGIN: Final = 32
FEN_PER_YI: Final = 10_000_000_000
"""1 亿元 = 100,000,000 CNY."""
MOST_TICKS: Final = 5

STYLE: Final = """
    .back { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .quiet { fill: #59636e } .grid { stroke: #d8dee4 }
    .line { fill: none; stroke: #0969da; stroke-width: 2.5; stroke-linejoin: round } .area { fill: #0969da; opacity: .14 } .dot { fill: #0969da }
    text { font: 13px system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif }
    .figure { font-size: 30px; font-weight: 600 } .small { font-size: 12px } .end { paint-order: stroke; stroke: #ffffff; stroke-width: 5px }
    @media (prefers-color-scheme: dark) {
      .back { fill: #0d1117; stroke: #3d444d } .text { fill: #f0f6fc } .quiet { fill: #9198a1 } .grid { stroke: #2f353d }
      .line { stroke: #4493f8 } .area, .dot { fill: #4493f8 } .end { stroke: #0d1117 }
    }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One curve: where it stands, what it shows, and how its values are written."""

    x: int
    title: str
    values: Sequence[int]
    unit: int
    """By what values are divided for their axis."""
    written: str

    top: Final = 200
    bottom: Final = 346
    width: Final = 400


def picture(found: Summary, months: Sequence[Standing]) -> str:
    """Draw the headline of a day, and the months up to it."""
    days = [month.as_of for month in months]
    volumes = [month.contracted.net for month in months]
    members = [month.members_active for month in months]
    yi = f"{Decimal(found.contracted.net) / FEN_PER_YI:,.2f} 亿元"
    figures = [
        (
            "Active members 数商会员",
            f"{found.members_active:,}",
            f"ever admitted 累计入会 {found.members_ever_admitted:,}",
        ),
        ("Cumulative volume 累计交易额", yi, yuan_text(found.contracted.net)),
        ("Trades counted 成交", f"{found.contracted.trades:,}", f"listings for sale 挂牌 {found.listings_listed:,}"),
        ("Growth on last year 同比", _percent(found.yoy), f"on last month 环比 {_percent(found.mom)}"),
    ]
    panels = [
        Panel(MARGIN + 40, "Cumulative volume 累计交易额, CNY 100 million 亿元", volumes, FEN_PER_YI, yi),
        Panel(MARGIN + 40 + 456, "Active members 数商会员", members, 1, f"{found.members_active:,}"),
    ]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"  <title>The headline as of {found.as_of}: {found.members_active:,} active members, {yuan_text(found.contracted.net)}</title>",
        f"  <style>{STYLE}  </style>",
        f'  <rect class="back" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        *(line for number, figure in enumerate(figures) for line in _figure(MARGIN + number * 228, *figure)),
        *(line for panel in panels for line in _panel(panel, days)),
        _text(MARGIN, HEIGHT - 14, f"As of {found.as_of}: exchange summary --as-of {found.as_of}", "quiet small"),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _percent(growth: str | None) -> str:
    return "—" if growth is None else f"{Decimal(growth) * 100:+.2f} %"


def _text(x: float, y: float, said: str, classes: str, anchor: str = "start") -> str:
    return f'  <text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{said}</text>'


def _figure(x: int, name: str, value: str, beside: str) -> list[str]:
    return [_text(x, 44, name, "quiet"), _text(x, 82, value, "text figure"), _text(x, 106, beside, "quiet")]


def tick_step(highest: int, unit: int) -> int:
    """Give the least of 1, 2 and 5 times a power of ten, of the unit or a tenth of it, with which few steps reach the highest value."""
    step, factors = max(1, unit // 10), (2, Decimal("2.5"), 2)
    turn = 0
    while step * MOST_TICKS < highest:
        step = int(step * factors[turn % 3])
        turn += 1
    return step


def _panel(panel: Panel, days: Sequence[date]) -> list[str]:
    step = tick_step(max(panel.values), panel.unit)
    highest = max(step, -(-max(panel.values) // step) * step)
    place = _places(panel, len(days), highest)
    lines = [_text(panel.x - 40, panel.top - 28, panel.title, "text")]
    for value in range(0, highest + 1, step):
        _, y = place(0, value)
        lines += [
            f'  <path class="grid" d="M{panel.x} {y:.1f}h{panel.width}"/>',
            _text(panel.x - 8, y + 4, f"{Decimal(value) / panel.unit:,}", "quiet small", "end"),
        ]
    for number, day in enumerate(days):
        if day.month == 1 or number == 0:
            lines.append(_text(place(number, 0)[0], panel.bottom + 18, str(day.year), "quiet small"))
    points = [place(number, value) for number, value in enumerate(panel.values)]
    curve = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    (first, _), (last, height) = points[0], points[-1]
    return [
        *lines,
        f'  <path class="area" d="M{curve}L{last:.1f} {panel.bottom}L{first:.1f} {panel.bottom}Z"/>',
        f'  <path class="line" d="M{curve}"/>',
        f'  <circle class="dot" cx="{last:.1f}" cy="{height:.1f}" r="4"/>',
        _text(last, height - 12, panel.written, "text end", "end"),
    ]


def _places(panel: Panel, count: int, highest: int) -> Callable[[int, int], tuple[float, float]]:
    """Say where the value of a month stands."""
    apart = panel.width / max(1, count - 1)
    height = (panel.bottom - panel.top) / highest
    return lambda number, value: (panel.x + number * apart, panel.bottom - value * height)

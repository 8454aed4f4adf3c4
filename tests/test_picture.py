"""The headline as a picture."""

import re
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from commandline import CommandLine, member_row, product_row, trade_row, write_rows

from exchange.cli.picture import MOST_TICKS, tick_step


@pytest.fixture
def line(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys, sqlite_url)


def drawn(line: CommandLine, file: Path, *arguments: str) -> tuple[str, list[str]]:
    """Draw the headline; give the curves' paths and all that is written."""
    said = line("summary", "--svg", file, *arguments)
    assert (said.code, said.err) == (0, f"It is drawn in {file}.\n")
    assert "Cumulative volume" in said.out
    root = ET.fromstring(file.read_text(encoding="utf-8"))
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    curves = [path.attrib["d"] for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "line"]
    return " ".join(curves), texts


def test_it_shows_the_figures_and_a_point_for_each_month(line: CommandLine, tmp_path: Path) -> None:
    line.a_key()
    for kind, rows in (
        ("members", [member_row(1), member_row(2)]),
        ("products", [product_row(1)]),
        ("trades", [trade_row(1, gross=106_000_000)]),
    ):
        line.done("import", kind, write_rows(tmp_path / f"{kind}.csv", kind, rows))
    curves, texts = drawn(line, tmp_path / "a.svg", "--as-of", "2020-05-10")

    # January to April, and the day itself; the trade is of April.
    volume, members = re.findall(r"M([^M]+)", curves)
    assert [point.split()[1] for point in volume.split("L")] == ["346.0"] * 3 + [volume.split("L")[-1].split()[1]] * 2
    assert len(members.split("L")) == 5
    assert {"2", "CNY 1,060,000.00", "0.01 亿元", "2020", "—"} <= set(texts)
    assert "As of 2020-05-10: exchange summary --as-of 2020-05-10" in texts


def test_an_exchange_in_which_nothing_happened_can_be_drawn(line: CommandLine, tmp_path: Path) -> None:
    curves, texts = drawn(line, tmp_path / "empty.svg", "--as-of", "2020-01-15")

    assert curves == "M72.0 346.0 M528.0 346.0"
    assert "CNY 0.00" in texts
    assert str(date(2020, 1, 15).year) in texts


@pytest.mark.parametrize(
    ("highest", "unit", "step"),
    [
        (0, 1, 1),
        (5, 1, 1),
        (6, 1, 2),
        (416, 1, 100),
        (1_001, 1, 500),
        (89_700_000_000, 10**10, 2 * 10**10),
        (1, 100, 10),
    ],
)
def test_ticks_are_round_and_few(highest: int, unit: int, step: int) -> None:
    assert tick_step(highest, unit) == step
    assert step * MOST_TICKS >= highest


def test_a_picture_goes_where_files_can_be_written_only(line: CommandLine, tmp_path: Path) -> None:
    assert "No such file" in line.refused(3, "summary", "--svg", tmp_path / "missing" / "a.svg")

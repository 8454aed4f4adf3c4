"""What the guides tell to do can be done, and prints what they show."""

import re
import socket
from pathlib import Path

import pytest
from commandline import ROOT
from guides import Example, documents, examples, fits, run

DOCS = ROOT / "docs"
TOUR = "tour.md"
PAGES = ("members.md", "operators.md", "regulators.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_tour_and_a_guide_after_it_print_what_they_show(page: str, sqlite_url: str, tmp_path: Path) -> None:
    follow(tmp_path, sqlite_url, page)


@pytest.mark.postgres
def test_they_print_the_same_on_postgres(postgres_url: str, tmp_path: Path) -> None:
    follow(tmp_path, postgres_url, "members.md")


def follow(tmp_path: Path, url: str, page: str) -> None:
    shown = examples(DOCS / TOUR) + examples(DOCS / page)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    printed = run(shown, tmp_path, port, url)

    differing = [
        (one.place, one.shown, found) for one, found in zip(shown, printed, strict=False) if one.differs(found)
    ]
    assert differing == []
    assert len(printed) == len(shown) + 1


@pytest.mark.parametrize(
    "page", [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *DOCS.rglob("*.md"))]
)
def test_what_a_page_points_at_is_there(page: str) -> None:
    file = ROOT / page
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text(encoding="utf-8"))

    assert [target for target in targets if not (file.parent / target).exists()] == []


# The comparison can fail


@pytest.mark.parametrize(
    ("shown", "found", "same"),
    [
        ('{"a": 1}', '{"a": 1}', True),
        ('{"a": 1}', '{"a": 2}', False),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": 1}', '{"a": 1, "b": 2}', False),
        ('{"a": 1, "…": "…"}', '{"a": 1, "b": 2}', True),
        ('{"a": 1, "…": "…"}', '{"b": 2}', False),
        ('{"a": "…"}', '{"a": {"b": 1}}', True),
        ("[1, 2]", "[1, 2, 3]", False),
        ('[1, "…"]', "[1, 2, 3]", True),
        ('[1, 2, "…"]', "[1]", False),
        ('[{"a": 1}]', "[[1]]", False),
        ("1 2", "1\n2\n", True),
        ("1 2", "1", False),
    ],
)
def test_json_is_compared_but_for_what_is_left_open(shown: str, found: str, same: bool) -> None:
    assert fits(list(documents(shown)), list(documents(found))) is same
    assert Example("", "", "json", shown).differs(found) is not same


@pytest.mark.parametrize(
    ("shown", "found", "same"),
    [("a … c\n", "a b c", True), ("a … c", "a b d", False), ("a.c", "abc", False), ("a … c", "a\nc", False)],
)
def test_text_is_compared_but_for_what_is_left_open(shown: str, found: str, same: bool) -> None:
    assert Example("", "", "text", shown).differs(found) is not same


def test_what_is_no_json_differs_and_what_is_not_shown_does_not() -> None:
    assert Example("", "", "json", "{}").differs("oops")
    assert not Example("", "").differs("oops")


def test_a_block_that_is_not_run_must_say_why(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("*Not run by the tests: it never ends.*\n\n```sh\nwhile :; do :; done\n```\n", encoding="utf-8")
    assert examples(page) == []

    page.write_text("```python\n1\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.md:1: it is neither run"):
        examples(page)

    page.write_text("```sh\necho 1\n```\n\nNow:\n\n```text\n1\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.md:7: it does not follow"):
        examples(page)


def test_an_example_that_fails_is_named(tmp_path: Path) -> None:
    shown = [Example("page.md:1", "echo one\n"), Example("page.md:5", "echo two; echo why >&2; false\n")]

    with pytest.raises(AssertionError, match=r"page\.md:5 failed:\ntwo\n\nwhy"):
        run(shown, tmp_path, 0, "")
    assert run(shown[:1], tmp_path, 0, "")[0] == "one\n"

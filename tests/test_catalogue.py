"""Every type of problem is explained: in the documentation, on the command line, and at the address that is its type."""

from pathlib import Path

import orjson
import pytest
from commandline import CommandLine
from doors import Door

from exchange.api.doors import KeyMissing
from exchange.api.problems import DEFECT, STATUS
from exchange.cli.catalogue import catalogue, markdown
from exchange.problems import Problem, problem_types

ROOT = Path(__file__).parent.parent


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys, "sqlite:///unused.db")


def classes(kind: type[Problem] = Problem) -> list[type[Problem]]:
    return [one for sub in kind.__subclasses__() for one in (sub, *classes(sub))]


def test_the_committed_page_is_the_one_that_is_made() -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == markdown(), "run `make errors`"


def test_the_catalogue_holds_every_class_of_problem_and_the_defect() -> None:
    entries = list(catalogue())
    own = [kind for kind in classes() if kind.__module__.startswith("exchange.")]

    assert [entry.type for entry in entries][-1] == "defect"
    assert sorted(entry.type for entry in entries[:-1]) == sorted(kind.type_name() for kind in own)
    assert len(own) > 90


def test_no_two_problems_have_one_name() -> None:
    list(catalogue())  # loads them all
    names = [kind.type_name() for kind in classes() if kind.__module__.startswith("exchange.")]

    assert sorted(names) == sorted(set(names))


def test_whatever_is_raised_has_a_remedy_and_a_title_that_is_a_sentence() -> None:
    kinds = {kind.type_name() for kind in STATUS}

    assert [entry.type for entry in catalogue() if not entry.remedy and entry.type not in kinds] == []
    assert [entry.type for entry in catalogue() if not entry.title.endswith(".")] == []


def test_the_command_line_lists_them_for_people_and_for_programs(line: CommandLine) -> None:
    people, programs = line.done("errors"), orjson.loads(line.done("errors", "--json"))

    assert "key-missing (400, exit code 3): A write needs an idempotency key. Send `Idempotency-Key`" in people
    assert "malformed (400, exit code 3): The request cannot be read.\n" in people
    assert [one["type"] for one in programs] == [one.type for one in catalogue()]
    assert {one["type"]: one["exit_code"] for one in programs}["setting-wrong"] == 2
    assert line.done("errors", "--markdown") == markdown()


def test_the_type_of_a_problem_is_an_address_that_explains_it(sqlite_door: Door) -> None:
    problem = sqlite_door.ask(
        "POST", "/v1/products", sqlite_door.of(sqlite_door.place.a_company()), {}, without_key=True
    )
    explained = sqlite_door.ask("GET", problem.json()["type"])

    assert explained.status_code == 200
    assert explained.json() == {
        "type": "/problems/key-missing",
        "title": KeyMissing.title(),
        "status": 400,
        "remedy": KeyMissing.remedy,
    }


def test_a_browser_gets_a_page_that_loads_nothing(sqlite_door: Door) -> None:
    page = sqlite_door.ask("GET", "/problems/tag-wrong", headers={"Accept": "text/html,application/xhtml+xml"})

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<h1>`If-Match` cannot be read, or has no place here.</h1>" in page.text
    assert "as `&quot;9120&quot;`" in page.text


def test_each_type_is_explained(sqlite_door: Door) -> None:
    for name in problem_types():
        assert sqlite_door.ask("GET", f"/problems/{name}").json()["type"] == f"/problems/{name}"


def test_a_defect_is_explained_and_what_is_no_type_is_not_found(sqlite_door: Door) -> None:
    defect = sqlite_door.ask("GET", "/problems/defect").json()
    missing = sqlite_door.ask("GET", "/problems/nothing-like-this")

    assert defect == {name: DEFECT[name] for name in ("type", "title", "status", "remedy")}
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/no-route")

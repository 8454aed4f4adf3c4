"""What is used is known: pinned, listed, licensed, and asked about."""

import json
import re
from pathlib import Path

import pytest
from supply import ALL, BOM, EXCEPTIONS, LICENCES, ROOT, SHIPPED, bill, licence, permitted, pins, verdict


def test_the_bill_of_materials_is_what_the_lock_file_says() -> None:
    assert BOM.read_text(encoding="utf-8") == bill(), "Run `make sbom`."


def test_the_bill_names_each_pin_with_its_hashes_and_licence_and_nothing_that_changes() -> None:
    made = json.loads(BOM.read_text(encoding="utf-8"))
    lock = SHIPPED.read_text(encoding="utf-8")
    parts = {f"{part['name']}=={part['version']}": part for part in made["components"]}

    assert sorted(parts) == sorted(line.split()[0] for line in lock.splitlines() if "==" in line)
    assert sum(len(part["hashes"]) for part in parts.values()) == lock.count("--hash=sha256:")
    assert all(each["content"] in lock for part in parts.values() for each in part["hashes"])
    assert all(part["licenses"] for part in parts.values())
    assert not {"serialNumber"} & set(made)
    assert "timestamp" not in made["metadata"]


def test_the_bill_says_who_asks_for_whom() -> None:
    made = json.loads(BOM.read_text(encoding="utf-8"))
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in made["dependencies"]}
    reached, ahead = {"exchange"}, ["exchange"]
    while ahead:
        new = set(needs[ahead.pop()]) - reached
        reached |= new
        ahead += new

    assert reached == {"exchange", *(part["bom-ref"] for part in made["components"])}


@pytest.mark.parametrize("lock", [SHIPPED, ALL], ids=lambda lock: lock.name)
def test_every_pinned_dependency_has_a_licence_that_is_allowed_or_excepted_with_a_reason(lock: Path) -> None:
    assert [
        (pin.name, licence(pin.name))
        for pin in pins(lock)
        if not permitted(licence(pin.name)) and pin.name not in EXCEPTIONS
    ] == []


def test_an_exception_is_made_only_where_it_is_needed() -> None:
    assert set(EXCEPTIONS) <= {pin.name for pin in pins(ALL)}
    assert [name for name in EXCEPTIONS if permitted(licence(name))] == []


@pytest.mark.parametrize(
    ("expression", "may"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND MPL-2.0", True),
        ("AGPL-3.0-only", False),
        ("Our own terms", False),
    ],
)
def test_of_alternatives_one_must_be_allowed_of_several_together_each(expression: str, may: bool) -> None:
    assert permitted(expression) is may


def test_a_package_that_states_no_licence_is_not_taken_for_a_free_one() -> None:
    with pytest.raises(LookupError, match="states no SPDX licence"):
        licence("no-such-package")


def test_the_list_of_licences_has_a_row_for_each_pin() -> None:
    rows = [line.strip("| ").split(" | ") for line in LICENCES.read_text(encoding="utf-8").splitlines() if "| " in line]
    listed = sorted((name, version) for name, version, _ in rows if name != "package")

    assert listed == sorted((pin.name, pin.version) for pin in pins(ALL)), "Run `make sbom`."
    assert {pin.name for pin in pins(SHIPPED)} <= {name for name, _ in listed}
    assert all(permitted(expression) or name in EXCEPTIONS for name, _, expression in rows if name != "package")


# Advisories


def report(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


CLEAN = {"name": "one", "version": "1", "vulns": []}
UNKNOWN = {"name": "two", "skip_reason": "Dependency not found"}
FLAWED = {"name": "three", "version": "3", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["3.1"]}]}


@pytest.mark.parametrize("unheard", ["", "an error page", report(UNKNOWN)])
def test_advisories_that_cannot_be_reached_are_said_in_plain_sight_and_fail_nothing(unheard: str) -> None:
    code, said = verdict(unheard)

    assert code == 0
    assert "NOTHING WAS AUDITED" in said[0]


def test_a_known_flaw_fails_and_is_named_and_what_was_not_audited_too() -> None:
    code, said = verdict(report(CLEAN, UNKNOWN, FLAWED))

    assert code == 1
    assert said == [
        "2 of 3 packages audited, 1 advisories.",
        "two: not audited, Dependency not found",
        "three 3: PYSEC-2026-1",
    ]
    assert verdict(report(CLEAN)) == (0, ["1 of 1 packages audited, 0 advisories."])


def test_a_rule_of_bandit_is_put_aside_in_code_only_with_its_reason() -> None:
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "exchange").rglob("*.py")]
    aside = [line for text in code for line in text.splitlines() if re.search(r"noqa: [A-Z0-9, ]*S[0-9]", line)]

    assert 'select = ["ALL"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [line for line in aside if not re.search(r"noqa: [A-Z0-9, ]+ - \w+", line)] == []


# The threat model


MODEL = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+)::(test_\w+)`", MODEL)


@pytest.mark.parametrize("module", sorted({module for module, _ in NAMED}))
def test_every_test_that_the_threat_model_names_is_there(module: str) -> None:
    text = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
    there = re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)

    assert sorted({name for where, name in NAMED if where == module} - set(there)) == []


def test_every_row_of_the_threat_model_names_a_test_and_all_ten_risks_have_a_row() -> None:
    rows = [line for line in MODEL.splitlines() if line.startswith("| ") and "shown by" not in line]
    risks = [int(found.group(1)) for row in rows if (found := re.match(r"\| API([0-9]+) ", row))]

    assert risks == list(range(1, 11))
    assert [row for row in rows if not re.search(r"`test_\w+::test_\w+` \|$", row)] == []
    assert sum(MODEL.count(f"`{word}") for word in ("test_", "tests/")) == len(NAMED), "Write `file::test`."

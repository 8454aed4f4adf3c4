"""The container: what its files say, and, as no engine is needed for that, that what the image holds runs where it can write nothing."""

import asyncio
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from cluster import Cluster, free_port
from conftest import migrated
from tampering import granted

from exchange.cli.granting import named
from exchange.settings import FILE_SUFFIX, Settings, variable

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
USER = 10_001
UNPRIVILEGED = [
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *(f"--{which}=-all,+dac_read_search" for which in ("inh-caps", "ambient-caps", "bounding-set")),
]
"""Another user, who may look into our folders, as the interpreter may stand in one, and write nowhere but in his own."""
SITE = "/opt/exchange/lib/python3.12/site-packages/"
SETTINGS = {variable(name) + suffix for name in Settings.model_fields for suffix in ("", FILE_SUFFIX)}


def instructions() -> list[list[str]]:
    """Read the Dockerfile: each instruction's words."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    return [line.split(maxsplit=1) for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def copied() -> list[tuple[str, str]]:
    """List what the Dockerfile takes from the checkout, and where to."""
    pairs = [rest.split() for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    return [(source, target) for source, target in pairs]


def command_of(word: str) -> list[str]:
    """Read an instruction's command."""
    [rest] = [rest for name, rest in instructions() if name == word]
    found: list[str] = json.loads(rest[rest.index("[") :])
    return found


def test_the_dockerfile_is_linted() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert linted.returncode == 0, linted.stdout


def test_the_image_runs_as_nobody_of_note_and_holds_nothing_to_install_with() -> None:
    final = instructions()[[word for word, _ in instructions()].index("COPY") :]
    final = final[max(n for n, (word, _) in enumerate(final) if word == "FROM") :]
    runs = " ".join(rest for word, rest in final if word == "RUN")

    assert [rest for word, rest in final if word == "USER"] == [f"{USER}:{USER}"]
    assert "pip install" not in runs
    assert "pip uninstall --yes pip" in runs
    assert "apt" not in DOCKERFILE
    assert {word for word, _ in final} >= {"HEALTHCHECK", "ENTRYPOINT", "CMD", "WORKDIR"}
    bases = {rest.split()[0] for word, rest in instructions() if word == "FROM"}
    assert len(bases) == 1
    assert all(re.fullmatch(r"python:3\.[0-9]+-slim-[a-z]+", base) for base in bases)


def test_all_that_the_image_takes_is_there_and_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = [line[1:] for line in ignored if line.startswith("!")]

    assert "*" in ignored
    assert sorted(source for source, _ in copied()) == sorted(sent)
    assert all((ROOT / source).exists() for source in sent)
    assert (f"{SITE}exchange", f"{SITE}exchange/migrations") == tuple(target for _, target in copied()[-2:])


# The image's tree, without an engine


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """What the image holds of ours, copied as the Dockerfile says, so that nobody can write it."""
    with for_all() as made:
        for source, target in copied():
            if (ROOT / source).is_dir():
                clean = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, made / target.removeprefix(SITE), ignore=clean)
        subprocess.run(["chmod", "-R", "a-w", made], check=True)
        yield made
        subprocess.run(["chmod", "-R", "u+w", made], check=True)


@pytest.fixture
def own() -> Iterator[Path]:
    """A folder of the unprivileged user's."""
    with for_all() as made:
        if os.geteuid() == 0:
            os.chown(made, USER, USER)
        yield made


@contextmanager
def for_all() -> Iterator[Path]:
    """Make a folder into which everybody can look, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        made.chmod(0o755)
        yield made


@contextmanager
def running(tree: Path, own: Path, url: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Start what the image starts: as nobody of note, from the copied tree, with the installed libraries and without the checkout."""
    privileges = UNPRIVILEGED if os.geteuid() == 0 else []
    # A path given so has its .pth files left alone, and with them the one that names the checkout.
    path = os.pathsep.join([str(tree), sysconfig.get_path("purelib")])
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "EXCHANGE_DATABASE_URL": url,
    }
    interpreter = Path(sys.base_prefix) / "bin" / "python3"
    with subprocess.Popen(
        [*privileges, str(interpreter), *command],
        env=environment,
        cwd=own,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(tree: Path, own: Path, url: str, *command: str) -> str:
    """Run something to its good end; give what it said."""
    with running(tree, own, url, *command) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    return out


def entry(*arguments: str) -> list[str]:
    """Write the image's command with other arguments; its first word is the interpreter."""
    python, *rest = command_of("ENTRYPOINT")
    assert python == "python"
    return [*rest, *arguments]


def test_the_program_runs_from_the_copy_alone(tree: Path, own: Path) -> None:
    url = f"sqlite:///{own}/exchange.db"
    look = (
        "import exchange, os, exchange.revisions as r; print(exchange.__file__); print(r.configuration().get_main_option('script_location'));"
        "print(os.geteuid(), os.access(exchange.__file__, os.W_OK))"
    )

    module, migrations, rights = said(tree, own, url, "-c", look).splitlines()
    helped = said(tree, own, url, *entry("--help"))

    assert module == str(tree / "exchange" / "__init__.py")
    assert migrations == str(tree / "exchange" / "migrations")
    assert rights == f"{USER if os.geteuid() == 0 else os.geteuid()} False"
    assert "The ledger of a data exchange" in helped


def test_it_upgrades_and_serves_where_it_can_write_nothing_else(tree: Path, own: Path) -> None:
    serves(tree, own, f"sqlite:///{own}/exchange.db")


@pytest.mark.postgres
def test_it_upgrades_and_serves_with_postgres(tree: Path, own: Path, postgres: Cluster) -> None:
    postgres.create_database("for_container")
    serves(tree, own, postgres.url("for_container"))
    postgres.drop_database("for_container")


def serves(tree: Path, own: Path, url: str) -> None:
    before = sorted(tree.rglob("*"))
    port = free_port()
    assert "is at " in said(tree, own, url, *entry("db", "upgrade"))
    with running(tree, own, url, *entry(*command_of("CMD"), "--port", str(port))) as process:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                ready = httpx.get(f"http://127.0.0.1:{port}/readyz")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        # The image's own question whether it is well, but for the port.
        python, *ask = [word.replace(":8000/", f":{port}/") for word in command_of("HEALTHCHECK")]
        assert said(tree, own, url, *ask) == ""
        process.terminate()
        assert process.wait(timeout=30) == 0
    with running(tree, own, url, *ask) as unwell:
        assert unwell.wait(timeout=30) == 1
    assert python == "python"
    assert ready.json()["status"] == "ready"
    assert sorted(tree.rglob("*")) == before


def test_neither_the_service_nor_the_question_whether_it_is_well_needs_a_shell() -> None:
    assert [command_of(word)[0] for word in ("ENTRYPOINT", "CMD", "HEALTHCHECK")] == ["python", "serve", "python"]
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "exchange").rglob("*.py")]
    assert not any("shell=True" in text or "os.system" in text for text in code)


# Compose


def documents(name: str) -> list[dict[str, Any]]:
    if importlib.util.find_spec("yaml") is None:
        pytest.skip("PyYAML comes with the development tools on most versions of Python, not on this one.")
    yaml: Any = importlib.import_module("yaml")
    return list(yaml.safe_load_all((ROOT / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    [read] = documents("compose.yaml")
    return read


def test_every_service_is_shut_in(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"database", "migration", "grants", "service"}
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"]), name
        assert "privileged" not in service, name
        assert service["healthcheck"], name


def test_secrets_come_from_files_alone(compose: dict[str, Any]) -> None:
    used = {secret for service in compose["services"].values() for secret in service["secrets"]}
    assert used == set(compose["secrets"])
    for secret in compose["secrets"].values():
        assert set(secret) == {"file"}
        assert fnmatch(secret["file"], "secrets/*")
    assert "secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            assert name.startswith("POSTGRES_") or name in SETTINGS, name
            if any(word in name for word in ("PASSWORD", "SECRET", "KEY", "URL")):
                assert name.endswith("_FILE"), name
                assert value.removeprefix("/run/secrets/") in service["secrets"], name


def test_the_service_waits_for_the_migration_and_asks_what_the_image_asks(compose: dict[str, Any]) -> None:
    database, migration, grants, service = (
        compose["services"][name] for name in ("database", "migration", "grants", "service")
    )

    assert migration["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert grants["depends_on"] == {"migration": {"condition": "service_completed_successfully"}}
    assert service["depends_on"] == {"grants": {"condition": "service_completed_successfully"}}
    assert (migration["command"], grants["command"]) == (["db", "upgrade"], ["db", "grant"])
    assert migration["secrets"] == grants["secrets"] == ["owner_url"]
    assert "owner_url" not in service["secrets"]
    assert service["healthcheck"]["test"] == ["CMD", *command_of("HEALTHCHECK")]
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings.model_fields["stop_s"].default
    assert [port.split(":")[0] for port in service["ports"]] == ["127.0.0.1"]
    mounted = [volume.split(":") for volume in database["volumes"]]
    assert all((ROOT / source).exists() for source, *_ in mounted if source.startswith("."))
    assert {source for source, *_ in mounted if not source.startswith(".")} == set(compose["volumes"])


@pytest.mark.postgres
def test_of_the_roles_that_compose_makes_one_upgrades_and_grants_and_the_other_serves(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("owner", "app"):
        (tmp_path / f"{name}_password").write_text("p'ass word\n")
    script = (ROOT / "docs" / "deploy" / "postgres-role.sh").read_text(encoding="utf-8")
    here = script.replace("/run/secrets/", f"{shlex.quote(str(tmp_path))}/")
    monkeypatch.setenv("PATH", f"{postgres.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("POSTGRES_USER", "postgres")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(postgres.port))

    subprocess.run(["sh", "-c", here], check=True, capture_output=True)
    owner, app = (postgres.url("exchange").replace("postgres@", f"exchange_{name}@") for name in ("owner", "app"))
    migrated(owner)
    granted(owner, named("exchange"))

    async def look(url: str) -> Any:
        connection = await asyncpg.connect(url)
        found = await connection.fetchrow(
            "SELECT rolsuper, rolcreatedb, has_table_privilege('event', 'INSERT'), has_table_privilege('event', 'DELETE'), "
            "current_setting('server_encoding') FROM pg_roles WHERE rolname = current_user"
        )
        await connection.close()
        return tuple(found or ())

    assert asyncio.run(look(owner)) == (False, False, True, True, "UTF8")
    assert asyncio.run(look(app)) == (False, False, True, False, "UTF8")
    assert granted(postgres.url("exchange"), named("exchange")) == [], "a superuser has nothing to add"
    postgres.drop_database("exchange")


# Kubernetes


def test_in_kubernetes_it_is_shut_in_as_much_and_given_time_to_stop() -> None:
    deployment, service = documents("docs/deploy/kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    own = pod["securityContext"]

    assert (own["runAsNonRoot"], own["runAsUser"], own["runAsGroup"]) == (True, USER, USER)
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert {setting["name"] for setting in container["env"]} <= SETTINGS
        files = [one["value"] for one in container["env"] if one["name"].endswith(FILE_SUFFIX)]
        assert all(file.startswith("/run/secrets/exchange/") for file in files)
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/run/secrets/exchange"}
    drain = [int(one["value"]) for one in containers[-1]["env"] if one["name"] == "EXCHANGE_DRAIN_S"]
    assert pod["terminationGracePeriodSeconds"] > sum(drain) + Settings.model_fields["stop_s"].default
    assert [container.get("args") for container in containers] == [["db", "upgrade"], None]
    assert (
        containers[-1]["readinessProbe"]["httpGet"]["path"],
        containers[-1]["livenessProbe"]["httpGet"]["path"],
    ) == (
        "/readyz",
        "/livez",
    )
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


# systemd


def test_the_unit_names_settings_that_there_are_and_gives_time_to_stop() -> None:
    unit = (ROOT / "docs" / "deploy" / "exchange.service").read_text(encoding="utf-8")
    named = re.findall(r"^Environment=([A-Z_]+)=", unit, re.MULTILINE)
    [patience] = re.findall(r"^TimeoutStopSec=([0-9]+)$", unit, re.MULTILINE)

    assert named
    assert set(named) <= SETTINGS
    assert int(patience) > Settings.model_fields["stop_s"].default
    assert "-m exchange serve" in unit

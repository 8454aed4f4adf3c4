"""Settings: where they come from, how they are shown, and what is said of wrong ones."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from commandline import CommandLine

from exchange.cli.operating import markdown
from exchange.database import Database
from exchange.settings import Settings, SettingWrong, variable

ROOT = Path(__file__).parent.parent
SECRET = "s3cret-MARK7391"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no setting of the machine's in force."""
    for name in Settings.model_fields:
        for suffix in ("", "_FILE"):
            monkeypatch.delenv(variable(name) + suffix, raising=False)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys, "sqlite:///exchange.db")


def shown(line: CommandLine) -> dict[str, Any]:
    return {one["variable"]: (one["value"], one["source"]) for one in orjson.loads(line.done("settings", "--json"))}


def test_the_documented_table_is_the_one_that_the_program_gives(line: CommandLine) -> None:
    document = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    assert line.done("settings", "--markdown") == markdown()
    assert document.endswith("\n\n" + markdown())
    assert markdown().count("\n| `EXCHANGE_") == len(Settings.model_fields)


def test_every_setting_says_what_it_means_and_has_a_default() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


@pytest.mark.parametrize("written", [f"{SECRET}\n", SECRET, f"{SECRET}\r\n"])
def test_every_setting_comes_from_a_file_too(
    line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(written.encode())
    monkeypatch.setenv("EXCHANGE_CURSOR_SECRET_FILE", str(file))
    monkeypatch.setenv("EXCHANGE_QUEUE_LIMIT", "7")

    read = Settings.read()
    told = shown(line)

    assert read.cursor_secret is not None
    assert read.cursor_secret.get_secret_value() == SECRET
    assert told["EXCHANGE_CURSOR_SECRET"] == ("***", f"EXCHANGE_CURSOR_SECRET_FILE ({file})")
    assert told["EXCHANGE_QUEUE_LIMIT"] == ("7", "EXCHANGE_QUEUE_LIMIT")
    assert told["EXCHANGE_ACCESS_LOG"] == ("true", "default")
    assert told["EXCHANGE_LOG_FORMAT"] == (None, "default")


def test_numbers_and_flags_come_from_files_as_they_do_from_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("queue_limit", "12\n"), ("access_log", "false\n"), ("log_level", "debug\n")):
        (tmp_path / name).write_text(value)
        monkeypatch.setenv(variable(name) + "_FILE", str(tmp_path / name))

    read = Settings.read()

    assert (read.queue_limit, read.access_log, read.log_level) == (12, False, "debug")


def test_the_settings_in_force_are_shown_without_secrets(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_KEY", SECRET)
    monkeypatch.setenv("EXCHANGE_CURSOR_SECRET", SECRET)
    line.use(f"postgresql://me:{SECRET}@host/exchange?password={SECRET}&sslmode=require")

    for said in (line.done("settings"), line.done("settings", "--json")):
        assert SECRET not in said
        assert "postgresql://me:***@host/exchange?" in said
        assert "sslmode=require" in said


def test_an_address_that_cannot_be_read_is_not_shown(line: CommandLine) -> None:
    line.use(f"postgresql://me:{SECRET}@host:port/exchange")

    assert shown(line)["EXCHANGE_DATABASE_URL"] == ("(cannot be read)", "EXCHANGE_DATABASE_URL")


def test_a_database_is_named_without_a_password_wherever_it_stands() -> None:
    named = str(Database(f"postgresql://me@host/exchange?password={SECRET}&sslpassword={SECRET}&sslmode=require"))

    assert SECRET not in named
    assert "sslmode=require" in named


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("queue_limit", SECRET, "valid integer"),
        ("queue_limit", "0", "greater than 0"),
        ("drain_s", "-1", "greater than or equal to 0"),
        ("drain_s", "nan", "finite|less than|greater than"),
        ("stop_s", "601", "less than or equal to 600"),
        ("log_level", SECRET, "'debug', 'info', 'warning' or 'error'"),
        ("log_format", SECRET, "'json' or 'console'"),
        ("access_log", SECRET, "valid boolean"),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule_and_never_shown(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable(name), value)

    said = line.refused(2, "settings")

    assert variable(name) in said
    assert any(word in said for word in words.split("|"))
    assert SECRET not in said
    assert "docs/settings.md" in said


def test_a_setting_given_twice_is_refused(line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_KEY", SECRET)
    monkeypatch.setenv("EXCHANGE_KEY_FILE", str(tmp_path / "key"))

    assert "EXCHANGE_KEY and EXCHANGE_KEY_FILE are both set" in line.refused(2, "settings")


def test_a_file_that_cannot_be_read_is_named_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingWrong, match=r"EXCHANGE_KEY_FILE names a file that cannot be read: No such file"):
        Settings.read()
    (tmp_path / "none").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingWrong, match="EXCHANGE_KEY_FILE names a file that is not UTF-8"):
        Settings.read()


def test_settings_that_are_printed_show_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"DATABASE_URL": "postgresql://me:s3cret-1@host/db", "KEY": "s3cret-2", "CURSOR_SECRET": "s3cret-3"}
    for name, value in secrets.items():
        monkeypatch.setenv(f"EXCHANGE_{name}", value)

    read = Settings.read()

    assert "s3cret" not in f"{read!r} {read} {read.model_dump()} {read.model_dump_json()}"
    assert read.database_url.get_secret_value() == secrets["DATABASE_URL"]

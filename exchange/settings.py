"""Settings, from the environment. One table: every setting with its default and meaning.

Each is read from `EXCHANGE_NAME`, or from the file that `EXCHANGE_NAME_FILE` names, as containers hand out secrets.
"""

import os
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from exchange.problems import Invalid

PREFIX: Final = "EXCHANGE_"
FILE_SUFFIX: Final = "_FILE"
LONGEST_WAIT_S: Final = 600
MOST_WORKERS: Final = 64

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]


class SettingWrong(Invalid):
    """A setting cannot be read."""

    remedy = "Look at `exchange settings` and docs/settings.md for what it takes."


def variable(name: str) -> str:
    """Name a setting's environment variable."""
    return PREFIX + name.upper()


class Files(PydanticBaseSettingsSource):
    """Settings from files: `EXCHANGE_NAME_FILE` names the file, whose last line end is not part of the value."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Read one. Raises SettingWrong where the file cannot be read, or the variable itself is set too."""
        named = variable(field_name) + FILE_SUFFIX
        path = os.environ.get(named)
        if path is None:
            return None, field_name, False
        if variable(field_name) in os.environ:
            raise SettingWrong(f"{variable(field_name)} and {named} are both set: keep one of them.")
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise SettingWrong(f"{named} names a file that cannot be read: {error.strerror}.") from None
        except ValueError:
            raise SettingWrong(f"{named} names a file that is not UTF-8 text.") from None
        return text.removesuffix("\n").removesuffix("\r"), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Read all that are there."""
        read = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in read.items() if value is not None}


class Settings(BaseSettings):
    """What the environment says, each variable prefixed with `EXCHANGE_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    database_url: SecretStr = Field(
        SecretStr("sqlite:///exchange.db"),
        description="`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`",
    )
    """Secret, for a password may be in it; `Database` tells it without."""
    read_database_url: SecretStr | None = Field(
        None, description="a PostgreSQL replica of it, from which figures, and only they, are read"
    )
    key: SecretStr | None = Field(None, description="the API key with which the command line acts")
    cursor_secret: SecretStr | None = Field(
        None, description="signs list cursors; one value for all machines, else each start makes its own"
    )
    hosts: str = Field(
        "",
        description="names by which the service may be asked, without ports, separated by commas; others get 400; where empty, any will do",
    )
    workers: int = Field(
        1, gt=0, le=MOST_WORKERS, description="processes that serve together; above 1 on PostgreSQL only"
    )
    queue_limit: int = Field(
        10_000,
        gt=0,
        description="commands that may wait for the journal before new ones get 503; fewer where they are not served within half a second",
    )
    keep_alive_s: int = Field(
        75,
        gt=0,
        description="seconds for which a connection without requests is kept; longer than the proxy keeps its own, so that the proxy ends them",
    )
    client_s: int = Field(
        30,
        gt=0,
        description="seconds in which a client must have sent a whole request, and after which one that takes nothing of its answer is left",
    )
    connection_limit: int = Field(10_000, gt=0, description="connections that may be open before new ones get 503")
    rate_per_key: int = Field(
        60_000,
        ge=0,
        description="requests a minute that one key may send to a process before it gets 429; `0`: no limit",
    )
    rate_per_address: int = Field(
        600_000,
        ge=0,
        description="requests a minute that one address may send to a process before it gets 429; `0`: no limit",
    )
    drain_s: float = Field(
        0,
        ge=0,
        le=LONGEST_WAIT_S,
        description="seconds for which a server that is told to stop still takes connections, while `/readyz` says 503",
    )
    stop_s: int = Field(
        30, gt=0, le=LONGEST_WAIT_S, description="seconds after which requests still in flight are given up at a stop"
    )
    log_level: LogLevel = Field(
        "info", description="the least that the server logs: `debug`, `info`, `warning`, `error`"
    )
    log_format: LogFormat | None = Field(
        None, description="`json` lines or `console`; where unset, `console` if stderr is a terminal"
    )
    access_log: bool = Field(default=True, description="a line in the log for each request")

    @property
    def host_names(self) -> frozenset[str]:
        """The names in `hosts`."""
        return frozenset(name.strip().lower() for name in self.hosts.split(",") if name.strip())

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Read the environment, and let what is given stand before it. Raises SettingWrong, which names variables and never values."""
        try:
            return cls(**given)
        except ValidationError as error:
            wrong = "; ".join(
                f"{variable(str(line['loc'][0]))}: {line['msg']}" for line in error.errors(include_input=False)
            )
            raise SettingWrong(f"{wrong}.") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings hands over all it has
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Say where settings come from: what is given in code, the environment, files."""
        return init_settings, env_settings, Files(settings_cls)

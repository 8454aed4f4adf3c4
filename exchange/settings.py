"""Settings, from the environment. One table: every setting with its default and meaning."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the environment says, each variable prefixed with `EXCHANGE_`."""

    model_config = SettingsConfigDict(env_prefix="EXCHANGE_", frozen=True)

    database_url: str = Field(
        "sqlite:///exchange.db", description="sqlite:///FILE or postgresql://USER@HOST:PORT/DATABASE"
    )
    key: SecretStr | None = Field(None, description="the API key with which the command line acts")
    cursor_secret: SecretStr | None = Field(
        None, description="signs list cursors; one value for all processes, else each start makes its own"
    )
    queue_limit: int = Field(10_000, description="requests that may wait for the journal before new ones get 503")

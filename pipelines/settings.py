"""Settings: flags win, then VIGIE_* variables, then `vigie.toml`, then the defaults below."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

Profile = Literal["demo", "mirror", "live"]


class Settings(BaseSettings):
    """What a run needs to know. Every field can be set as VIGIE_<NAME> or in `vigie.toml`."""

    model_config = SettingsConfigDict(
        env_prefix="VIGIE_", toml_file="vigie.toml", extra="forbid", hide_input_in_errors=True  # it may be a password
    )

    data: Path = Path("data")
    profile: Profile = "demo"
    mirror: str | None = None  # base address that stands for every producer's site
    years: str | None = None  # "2014-2021" or "2019": data years of the statistical sources
    cog: int | None = None  # reference geography; default: the newest with a composition of EPCI
    publish: Literal["automatic", "on_approval"] = "automatic"  # on_approval: a run ends with a candidate that waits
    deadline: float = Field(default=600.0, gt=0)  # seconds, for one file
    timeout: float = Field(default=30.0, gt=0)  # seconds without a byte
    attempts: int = Field(default=5, ge=1)  # tries of one request
    demo_communes: int = Field(default=240, ge=60)
    demo_seed: int = 1
    executor: Literal["in_process", "multiprocess", "dask"] = "in_process"  # where the steps of a run are executed
    workers: int | None = Field(default=None, ge=1)  # steps at once, where there are several processes; default: cores
    dask: str | None = None  # address of a Dask scheduler whose workers share the data folder; default: one of its own
    log: Literal["text", "json"] = "text"  # json: one object a line, for what gathers logs
    remote: str | None = None  # where releases are sent once published: s3://bucket/prefix
    # what is kept, without end by default: the newest releases and the last of each year, runs, unused raw files
    keep_releases: int | None = Field(default=None, ge=2)
    keep_runs_days: int | None = Field(default=None, ge=1)
    keep_raw_months: int | None = Field(default=None, ge=1)

    @field_validator("years")
    @classmethod
    def _years_are_a_range(cls, text: str | None) -> str | None:
        if text is None:
            return None
        years = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", text)
        if years is None or int(years[1]) > int(years[2] or years[1]):
            raise ValueError(f"attendu une année ou un intervalle comme 2014-2021 ; trouvé « {text} »")
        return text

    @field_validator("mirror", "remote", "dask")
    @classmethod
    def _addresses_hold_no_password(cls, text: str | None) -> str | None:
        if text is not None and "@" in text.partition("://")[2].partition("/")[0]:
            raise ValueError("attendu une adresse sans nom ni mot de passe : elle est écrite dans les journaux")
        return text

    def wants(self, year: int) -> bool:
        """Whether statistical editions of that data year are asked for."""
        if self.years is None:
            return True
        first, _, last = self.years.partition("-")
        return int(first) <= year <= int(last or first)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

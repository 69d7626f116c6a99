"""Every setting of every process, read from `TUNEYARD_*`. Knows nothing of who uses them.

`docs/settings.md` is the one table of these; a test holds it against this class.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import ConfigError

MIB = 1024**2
GIB = 1024**3
Folder = Annotated[Path, BeforeValidator(lambda value: Path(value).expanduser().absolute())]


class Settings(BaseSettings):
    """Where things are and how patient the platform is. Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="TUNEYARD_", extra="ignore")

    data_dir: Folder = Field(Path(".tuneyard"), description="state of one machine")
    model_dir: Folder = Field(Path("~/.tuneyard/models"), description="base models")
    work_dir: Folder | None = Field(None, description="scratch of running jobs; data_dir/work")
    database_url: str = Field("", description="PostgreSQL or SQLite; data_dir/tuneyard.db")
    broker_url: str = Field("", description="Redis, Valkey or RabbitMQ; `up` starts its own")
    redis_url: str = Field("", description="Redis or Valkey of chat; the broker, if it is one")
    storage_url: str = Field("", description="files: file:// or s3://; data_dir/storage")

    lease_seconds: float = Field(60, gt=0, description="a claim lapses after this long unrenewed")
    heartbeat_seconds: float = Field(15, gt=0, description="a claim is renewed this often")
    fence_grace_seconds: float = Field(10, ge=0, description="a runner stops itself before lease")
    stop_grace_seconds: float = Field(30, ge=0, description="time to stop before a kill")
    sweep_seconds: float = Field(10, gt=0, description="how often the keeper sweeps")
    ring_again_seconds: float = Field(30, gt=0, description="a rung job not claimed is rung again")
    database_timeout_seconds: float = Field(30, gt=0, description="a statement may take this long")
    max_barren_attempts: int = Field(3, ge=1, description="attempts in a row without progress")

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="of a gpu worker")
    processes: int = Field(0, ge=0, description="of a training; 0: one a GPU, on a CPU one")
    threads: int = Field(0, ge=0, description="CPU threads of a runner; 0: all cores")
    spare_runner: bool = Field(
        True, description="a runner, or on a CPU their template, waits with its imports done"
    )

    retain_checkpoints_days: float = Field(30, gt=0, description="what a retry goes on from")
    retain_orphans_days: float = Field(2, gt=0, description="files that no row points to")
    retain_seconds: float = Field(3600, gt=0, description="how often the keeper deletes")

    webhook_seconds: float = Field(5, gt=0, description="how often the keeper sends webhooks")
    webhook_allow_private: bool = Field(False, description="webhooks by http, to own addresses")
    target_hosts: str = Field("*", description="hosts of PostgreSQL databases to ask questions on")

    log_format: Literal["text", "json"] = Field("text", description="of every process' log lines")
    metrics_token: str = Field("", description="lets a scraper read /metrics")
    max_body_bytes: int = Field(10 * MIB, gt=0, description="largest request other than an upload")
    max_upload_bytes: int = Field(2 * GIB, gt=0, description="largest upload")
    max_line_bytes: int = Field(1024**2, gt=0, description="longest line of an upload")
    max_database_bytes: int = Field(4 * GIB, gt=0, description="largest SQLite file")

    @model_validator(mode="after")
    def _derive(self) -> "Settings":
        if self.work_dir is None:
            self.work_dir = self.data_dir / "work"
        if not self.database_url:
            self.database_url = f"sqlite:///{self.data_dir / 'tuneyard.db'}"
        if not self.redis_url and not self.broker_url.startswith(("amqp", "pyamqp")):
            self.redis_url = self.broker_url
        if not self.storage_url:
            self.storage_url = f"file://{self.data_dir / 'storage'}"
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("heartbeat_seconds must be at most half of lease_seconds")
        if self.fence_grace_seconds >= self.lease_seconds - self.heartbeat_seconds:
            raise ValueError("fence_grace_seconds must leave room for one heartbeat in the lease")
        return self


def load_settings(**overrides: object) -> Settings:
    """Read the environment; a wrong value is one `ConfigError` that names the variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        place = "_".join(str(part) for part in first["loc"]).upper()
        name = f"TUNEYARD_{place}" if place else "settings"
        raise ConfigError(f"{name}: {first['msg']}") from None


@lru_cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return load_settings()

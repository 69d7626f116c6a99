"""Settings come from TUNEYARD_*; a wrong one is one line that names the variable."""

import pytest

from core.errors import ConfigError
from core.settings import load_settings
from tests.platform import environment


def test_places_follow_from_the_data_dir() -> None:
    with environment(data_dir="/srv/ty") as settings:
        assert settings.database_url == "sqlite:////srv/ty/tuneyard.db"
        assert settings.storage_url == "file:///srv/ty/storage"
        assert str(settings.work_dir) == "/srv/ty/work"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"lease_seconds": "soon"}, "TUNEYARD_LEASE_SECONDS"),
        ({"lease_seconds": "-1"}, "TUNEYARD_LEASE_SECONDS"),
        ({"lease_seconds": "20", "heartbeat_seconds": "15"}, "half of lease"),
        ({"lease_seconds": "30", "fence_grace_seconds": "20"}, "fence_grace"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigError, match=word), environment(**values):
        load_settings()

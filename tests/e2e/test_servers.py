"""The same platform on PostgreSQL and a configured Redis-compatible broker, by settings alone."""

from pathlib import Path

from tests.e2e.conftest import running, upload_shop
from tests.servers import free_port, valkey_server


def test_a_fine_tune_runs_on_postgresql_and_a_configured_broker(
    model_dir: Path, tmp_path: Path, postgres_url: str
) -> None:
    with (
        valkey_server(port=free_port()) as broker_url,
        running(
            tmp_path / "platform",
            model_dir,
            TUNEYARD_DATABASE_URL=postgres_url,
            TUNEYARD_BROKER_URL=broker_url,
        ) as platform,
    ):
        dataset = upload_shop(platform.client, tmp_path)
        assert dataset["status"] == "ready"
        job = platform.client.submit("train", model="tiny", dataset="shop-pairs", epochs=1)
        done = platform.client.wait(job["id"])
        assert done["result"]["adapter"] == "shop-pairs:1"
        assert not (platform.data_dir / "tuneyard.db").exists()
        assert list((platform.data_dir / "broker").iterdir()) == []

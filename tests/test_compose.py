"""docker-compose.yml: says what it should, and each of its commands runs and gets healthy."""

import json
import re
from pathlib import Path

import pytest

from core.settings import Settings
from tests.composition import VARIABLE, Composition, read_compose

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES = read_compose()["services"]
LASTING = sorted(set(SERVICES) - {"migrate"})
OURS = sorted(set(SERVICES) - {"postgres", "redis"})


def test_every_process_of_the_design_is_a_service():
    assert set(SERVICES) == {
        *("postgres", "redis", "migrate", "api", "keeper", "beat"),
        *("worker-gpu", "worker-gpu-on-cpu", "worker-cpu", "flower"),
    }


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_service_comes_back_and_says_how_it_is(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize("name", sorted(set(OURS) - {"migrate"}))
def test_nothing_of_ours_starts_before_its_tables_and_its_broker(name):
    needs = SERVICES[name]["depends_on"]
    assert needs["migrate"]["condition"] == "service_completed_successfully"
    assert needs["redis"]["condition"] == "service_healthy"


def test_no_secret_has_a_default():
    secrets = [found for found in VARIABLE.finditer(TEXT) if "PASSWORD" in found["name"]]
    assert {found["name"] for found in secrets} == {
        *("POSTGRES_PASSWORD", "REDIS_PASSWORD", "FLOWER_PASSWORD")
    }
    assert {found["kind"] for found in secrets} == {"?"}
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    assert set(given) == {found["name"] for found in VARIABLE.finditer(TEXT)}
    assert {given[found["name"]] for found in secrets} == {""}


def test_no_password_stands_in_an_argument():
    for name, service in SERVICES.items():
        for word in service.get("command", []):
            assert "${" not in word, name


def test_only_known_settings_are_set():
    known = {f"TUNEYARD_{field.upper()}" for field in Settings.model_fields}
    for service in SERVICES.values():
        named = {key for key in service.get("environment", {}) if key.startswith("TUNEYARD_")}
        assert named <= known


def test_volumes_are_declared_and_used():
    mounted = {
        mount.partition(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
    }
    assert mounted == set(read_compose()["volumes"])


def test_the_gpu_worker_alone_reserves_a_gpu():
    devices = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]
    assert [name for name in SERVICES if "deploy" in SERVICES[name]] == ["worker-gpu"]


def test_a_machine_without_a_gpu_has_a_profile_of_its_own():
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["worker-gpu-on-cpu"]
    one = SERVICES["worker-gpu-on-cpu"]
    assert one["environment"]["TUNEYARD_DEVICE"] == "cpu"
    assert {"-Q", "gpu"} <= set(one["command"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_logs_are_bounded(name):
    assert SERVICES[name]["logging"] == {"driver": "local"}


def test_the_keys_of_an_object_store_are_handed_on_if_they_are_set():
    for name in OURS:
        given = SERVICES[name]["environment"]
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
            assert given[key] is None and key in given, name


def test_workers_have_longer_to_stop_than_a_job_to_save_itself():
    grace = Settings.model_fields["stop_grace_seconds"].default
    for name in ("worker-gpu", "worker-gpu-on-cpu", "worker-cpu"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > grace + 10


def test_ports_are_published_on_loopback_unless_told_otherwise():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["${API_BIND:-127.0.0.1}:8400:8400", "127.0.0.1:5555:5555"]


def test_every_command_runs_and_gets_healthy(tmp_path, postgres_url):
    passwords = {name: f"{name}-for-test" for name in ("REDIS_PASSWORD", "FLOWER_PASSWORD")}
    composition = Composition(tmp_path, postgres_url, passwords)
    try:
        composition.start("redis")
        composition.wait_healthy("redis", seconds=20)
        composition.wait_healthy("postgres", seconds=20)
        assert composition.start("migrate").wait(timeout=60) == 0
        names = [name for name in OURS if name != "migrate"]
        for name in names:
            composition.start(name)
        for name in names:
            composition.wait_healthy(name, seconds=90)
        for name in names:
            assert composition.running[name].poll() is None, name
            said = (tmp_path / f"{name}.log").read_text(encoding="utf-8")
            assert not [word for word in passwords.values() if word in said], name
            if name != "flower":
                assert [json.loads(line) for line in said.splitlines()], "an object a line"
    finally:
        composition.stop()

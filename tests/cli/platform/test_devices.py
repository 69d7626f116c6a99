"""Which worker gets which device."""

import pytest

from cli.platform.devices import count_gpus, plan_workers, visible_gpus
from cli.platform.errors import Refused


@pytest.mark.parametrize(
    ("given", "present", "usable"),
    [
        (None, 2, ["0", "1"]),
        ("1", 2, ["1"]),
        ("1,0", 2, ["1", "0"]),
        ("GPU-8932f937,MIG-1", 2, ["GPU-8932f937", "MIG-1"]),
        ("", 2, []),
        ("0,-1,1", 2, ["0"]),
        ("0,5,1", 2, ["0"]),
        ("0,1", 0, []),
        (None, 0, []),
    ],
)
def test_visible_gpus_are_read_as_cuda_reads_them(given, present, usable):
    environ = {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    assert visible_gpus(environ, present) == usable


def test_gpus_are_counted_without_torch(tmp_path):
    for address in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / address).mkdir()
    assert count_gpus(tmp_path) == 2


def plan(device="auto", gpus=(), wanted=None, threads=0):
    return plan_workers(device=device, gpus=list(gpus), wanted=wanted, threads=threads)


def test_a_cpu_machine_has_a_slot_of_each_queue():
    assert [(worker.name, worker.queue) for worker in plan()] == [("gpu0", "gpu"), ("cpu0", "cpu")]
    assert {worker.env["TUNEYARD_DEVICE"] for worker in plan()} == {"cpu"}


def test_each_gpu_has_a_worker_of_its_own():
    workers = plan(gpus=["0", "GPU-8932f937"])
    pinned = [(worker.name, worker.env["CUDA_VISIBLE_DEVICES"]) for worker in workers]
    assert pinned == [("gpu0", "0"), ("gpu1", "GPU-8932f937"), ("cpu0", "")]


def test_workers_on_the_cpu_share_its_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    shares = [worker.env.get("TUNEYARD_THREADS") for worker in plan(wanted=4)]
    assert shares == ["2", "2", "2", "2", None]
    assert plan(wanted=4, threads=3)[0].env["TUNEYARD_THREADS"] == "3"


@pytest.mark.parametrize(
    ("wanted", "pinned"), [(1, ["0,1,2"]), (2, ["0,1", "2"]), (3, ["0", "1", "2"])]
)
def test_fewer_workers_than_gpus_share_them_out(wanted, pinned):
    *workers, _ = plan(gpus=["0", "1", "2"], wanted=wanted)
    assert [worker.env["CUDA_VISIBLE_DEVICES"] for worker in workers] == pinned


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"wanted": 0}, "at least 1"),
        ({"wanted": 3, "gpus": ["0", "1"]}, "only 2 GPUs"),
        ({"device": "cuda"}, "no GPU is visible"),
    ],
)
def test_what_the_machine_has_not_is_refused(asked, reason):
    with pytest.raises(Refused, match=reason):
        plan(**asked)


def test_a_gpu_is_left_alone_when_the_cpu_is_asked_for():
    assert plan(device="cpu", gpus=["0"])[0].env["CUDA_VISIBLE_DEVICES"] == ""

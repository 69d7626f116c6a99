"""A worker knows how many devices it has without loading torch."""

import pytest

from core.settings import load_settings
from workers.node import count_processes, memory_of, visible_gpus


@pytest.mark.parametrize(
    ("given", "device", "setting", "processes"),
    [
        ("0", "cuda", 0, 1),
        ("0,1", "cuda", 0, 2),
        ("GPU-8932f937, MIG-1,2", "cuda", 0, 3),
        ("0,-1,1", "cuda", 0, 1),
        ("", "cuda", 0, 1),
        (None, "cuda", 0, 1),
        ("0,1,2", "cuda", 2, 2),
        ("0,1", "cpu", 0, 1),
        (None, "cpu", 2, 2),
    ],
)
def test_a_training_has_a_process_for_each_gpu_of_the_worker(
    monkeypatch, given, device, setting, processes
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert count_processes(load_settings(processes=setting), device) == processes


def test_an_unpinned_worker_names_no_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == []


def test_processes_on_a_cpu_share_its_memory():
    assert memory_of("cpu", 2) == memory_of("cpu", 1) // 2

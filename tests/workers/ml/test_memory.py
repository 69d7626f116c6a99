from workers.ml import memory


def test_the_host_is_measured():
    assert memory.used("cpu") > 1e6 and memory.peak("cpu") > 1e6
    assert memory.available("cpu") > 0
    memory.keep_freed_memory()

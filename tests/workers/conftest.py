"""Runners of a training for tests of the worker's side."""

from collections.abc import Callable, Iterator

import pytest

from workers.spare import RunnerProcess, Template

Fork = Callable[[], RunnerProcess]


@pytest.fixture(scope="session")
def fork() -> Iterator[Fork]:
    """Starts a runner as a worker without a GPU does, the imports of which are done."""
    template = Template("gpu")

    def fork() -> RunnerProcess:
        runner = template.fork()
        assert runner is not None and runner.begun(180)
        return runner

    yield fork
    template.give_up()

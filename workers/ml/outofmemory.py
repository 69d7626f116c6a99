"""Which errors mean that memory is full, and what to do then. Loads no torch: a runner asks too."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import JobFailure

# What libraries say that have no exception class for it: torch's CPU allocator, C++ code under a
# limit of the address space, the loaders of files and of shared objects, threads without a stack.
SAYINGS = (
    *("defaultcpuallocator", "std::bad_alloc", "bad allocation", "cannot allocate memory"),
    *("cannot map zero-fill pages", "can't start new thread"),
)
LESS_HOST = "Use a smaller model, batch or max_length, or a machine with more memory."
LESS_GPU = (
    "Use quantization '8bit' or '4bit', a smaller micro_batch or max_length, or a smaller model."
)


def memory_class(error: BaseException) -> str | None:
    """`oom_gpu` or `oom_host` if the error says that memory is full, else None."""
    if type(error).__name__ == "OutOfMemoryError":
        return "oom_gpu"
    if isinstance(error, MemoryError):
        return "oom_host"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "oom_host"
    said = str(error).lower()
    return "oom_host" if any(saying in said for saying in SAYINGS) else None


def memory_failure(error: BaseException, doing: str = "the job") -> JobFailure | None:
    """The failure that such an error is, or None if it is another."""
    klass = memory_class(error)
    if klass == "oom_gpu":
        return JobFailure(klass, f"The device's memory did not suffice for {doing}. {LESS_GPU}")
    if klass == "oom_host":
        return JobFailure(klass, f"The machine's memory did not suffice for {doing}. {LESS_HOST}")
    return None


@contextmanager
def telling_memory(doing: str) -> Iterator[None]:
    """An error that says that memory is full is raised as the failure that it is."""
    try:
        yield
    except Exception as error:
        if (failure := memory_failure(error, doing)) is None:
            raise
        raise failure from error

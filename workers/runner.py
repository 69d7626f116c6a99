"""The subprocess that does the work of one job: `python -m workers.runner FD PARENT QUEUE`.

It imports what is slow, waits for its job on the pipe, runs the recipe of that name, and ends. It
stops itself when it has not heard from its supervisor for the length of the lease less a grace, by
the monotonic clock: a frozen or cut-off attempt must not work on beside its successor.
"""

import contextlib
import errno
import importlib
import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from core.errors import InvalidInput, JobFailure
from core.leash import die_with_parent
from core.storage import describe_tree
from workers.channel import Channel, ChannelClosed
from workers.context import Context, Spec, Stopped

PRELOAD = {
    "gpu": ("torch", "transformers", "peft", "bitsandbytes", "datasets"),
    "cpu": ("datasets", "sqlglot", "tokenizers"),
}
FENCED = 71


def main(argv: list[str]) -> None:
    handle, parent, queue = int(argv[1]), int(argv[2]), argv[3]
    die_with_parent(parent)
    channel = Channel(socket.socket(fileno=handle))
    for name in PRELOAD.get(queue, ()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    try:
        order = channel.receive(timeout=None)
    except ChannelClosed:
        return
    work(channel, Spec(**order["spec"]), fence_seconds=order["fence_seconds"])


def work(channel: Channel, spec: Spec, *, fence_seconds: float) -> None:
    """Run the recipe and say how it ended; the last message is always result, failed or stopped."""
    redirect_output(Path(spec.workdir) / "runner.log")
    context = Context(spec, channel.send)
    threading.Thread(target=listen, args=(channel, context, fence_seconds), daemon=True).start()
    try:
        set_threads(spec.threads)
        recipe = importlib.import_module(f"workers.recipes.{spec.type}")
        result = recipe.run(context)
        files = [entry.to_dict() for entry in describe_tree(context.out)]
        channel.send(kind="result", result=result, files=files)
    except Stopped as stopped:
        channel.send(kind="stopped", reason=stopped.reason)
    except ChannelClosed:
        os._exit(FENCED)
    except BaseException as error:
        traceback.print_exc()
        failure = classify(error)
        channel.send(
            kind="failed",
            failure={"klass": failure.klass, "message": failure.message, **failure.details},
        )


def listen(channel: Channel, context: Context, fence_seconds: float) -> None:
    """Hear the supervisor; silence for too long, or its end, ends this process at once."""
    heard = time.monotonic()
    while True:
        try:
            message = channel.receive(timeout=min(1.0, fence_seconds / 4))
        except ChannelClosed:
            os._exit(FENCED)
        if time.monotonic() - heard > fence_seconds:
            os._exit(FENCED)
        if message is None:
            continue
        heard = time.monotonic()
        if message["kind"] == "stop":
            context.stop = message["reason"]


def classify(error: BaseException) -> JobFailure:
    """The failure class of whatever a recipe raised."""
    if isinstance(error, JobFailure):
        return error
    if isinstance(error, InvalidInput):
        return JobFailure("data", error.message)
    text = str(error)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return JobFailure(
            "oom_host",
            "The machine's memory did not suffice. Use a smaller model, batch or max_length.",
        )
    if type(error).__name__ == "OutOfMemoryError":
        return JobFailure(
            "oom_gpu",
            "The device's memory did not suffice. Use quantization '8bit', a smaller micro_batch, "
            "a shorter max_length or gradient_checkpointing.",
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or "No space left" in text or "database or disk is full" in text:  # torch, SQLite
        return JobFailure("disk", f"The disk is full: {error}. Free some room and try again.")
    name = type(error).__name__
    return JobFailure(
        "crash", f"The recipe broke with {name}: {error}. The job's log has the traceback."
    )


def redirect_output(log: Path) -> None:
    """Send everything printed from here on, by C libraries too, to the job's log."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, encoding="utf-8", errors="replace")


def set_threads(threads: int) -> None:
    torch: Any = sys.modules.get("torch")
    if threads and torch is not None:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main(sys.argv)

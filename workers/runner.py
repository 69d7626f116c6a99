"""The subprocess that does the work of one job: `python -m workers.runner FD PARENT QUEUE`.

It imports what is slow, waits for its job on the pipe, runs the recipe of that name, and ends. It
stops itself when it has not heard from its supervisor for the length of the lease less a grace, by
the monotonic clock: a frozen or cut-off attempt must not work on beside its successor.
"""

import contextlib
import importlib
import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from core.errors import InvalidInput, JobFailure, Unavailable, WrongState
from core.failpoints import failpoint
from core.leash import die_with_parent
from core.storage import describe_tree
from workers.channel import Channel, ChannelClosed
from workers.context import Context, Spec, Stopped
from workers.fulldisk import full_disk_in
from workers.ml.outofmemory import memory_failure
from workers.ranks import Ranks
from workers.template import fork_on_request

PRELOAD = {
    "gpu": (
        *("torch", "transformers", "peft", "bitsandbytes", "datasets", "sqlglot"),
        *("workers.recipes.train", "workers.recipes.evaluate", "workers.recipes.generate"),
    ),
    "cpu": ("datasets", "sqlglot", "tokenizers", "workers.recipes.prepare"),
}
FENCED = 71
LAST_WORDS_BYTES = 2 * 1024**2
"""Set aside, so that a runner whose memory is full can still say so."""


def main(argv: list[str]) -> None:
    """A runner of one job; with `template` as last word, what runners are forked from."""
    handle, parent, queue = int(argv[1]), int(argv[2]), argv[3]
    die_with_parent(parent)
    pipe = socket.socket(fileno=handle)
    for name in PRELOAD.get(queue, ()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if argv[4:] == ["template"]:
        fork_on_request(pipe, serve)
    else:
        serve(pipe)


def serve(pipe: socket.socket) -> None:
    """Wait for the job and see it through."""
    channel = Channel(pipe)
    try:
        order = channel.receive(timeout=None)
    except ChannelClosed:
        return
    work(channel, Spec(**order["spec"]), fence_seconds=order["fence_seconds"])


def work(channel: Channel, spec: Spec, *, fence_seconds: float) -> None:
    """Run the recipe and say how it ended; the last message is always result, failed or stopped."""
    redirect_output(Path(spec.workdir) / "runner.log")
    reserve = bytearray(LAST_WORDS_BYTES)
    context = Context(spec, channel.send)
    ranks = Ranks(spec, channel.send)
    ear = threading.Thread(target=listen, args=(channel, context, fence_seconds), daemon=True)
    try:
        ear.start()
        set_threads(spec.threads)
        failpoint("runner.start")
        ranks.start()
        recipe = importlib.import_module(f"workers.recipes.{spec.type}")
        result = recipe.run(context)
        files = [entry.to_dict() for entry in describe_tree(context.out)]
        channel.send(kind="result", result=result, files=files)
        if spec.rank:
            ear.join()  # until the first rank ends it: the others may still read what it sent them
    except Stopped as stopped:
        channel.send(kind="stopped", reason=stopped.reason)
    except ChannelClosed:
        os._exit(FENCED)
    except BaseException as error:
        del reserve
        traceback.clear_frames(error.__traceback__)  # they hold what filled the memory
        ranks.hear_cause()
        failure = classify(error)
        with contextlib.suppress(MemoryError, OSError):  # a full disk takes no log either
            traceback.print_exc()
        channel.send(
            kind="failed",
            failure={"klass": failure.klass, "message": failure.message, **failure.details},
        )
    finally:
        ranks.end()


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
        elif message["kind"] == "others":
            context.others_wait = message["wait"]


def classify(error: BaseException) -> JobFailure:
    """The failure class of whatever a recipe raised."""
    if isinstance(error, JobFailure):
        return error
    if isinstance(error, InvalidInput):
        return JobFailure("data", error.message)
    if isinstance(error, Unavailable):
        return JobFailure("infra", error.message)
    if isinstance(error, WrongState):
        return JobFailure("config", error.message)
    if (full := memory_failure(error)) is not None:
        return full
    if (disk := full_disk_in(error)) is not None:
        return JobFailure("disk", f"The disk is full: {disk}. Free some room and try again.")
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

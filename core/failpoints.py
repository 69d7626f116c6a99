"""Places at which a test makes this process fail, once. Knows nothing of what happens there.

Only where TUNEYARD_FAILPOINTS names a folder does any of this act: a file `train.step@3` in it,
with the text `kill`, kills the process that reaches step 3. Whoever fires takes the file away, so
each fires once over all processes and attempts; a test may arm one while the platform runs.
"""

import errno
import os
import signal
import time
from pathlib import Path

VARIABLE = "TUNEYARD_FAILPOINTS"
_folder = os.environ.get(VARIABLE)


def failpoint(name: str, at: int | None = None, **errors: type[BaseException]) -> None:
    """Fail here if a test has armed `name` (or `name@at`); `errors` are actions of the place's own,
    as `oom=torch.OutOfMemoryError`."""
    if _folder is None:
        return
    for armed in (name, f"{name}@{at}"):
        if (action := _take(Path(_folder) / armed)) is not None:
            _act(action, armed, errors)


def _take(path: Path) -> str | None:
    """The action, if this process is the one that gets it."""
    fired = path.with_name(f"{path.name}.fired.{os.getpid()}")
    try:
        path.rename(fired)
    except OSError:
        return None
    return fired.read_text(encoding="utf-8").strip()


def _act(action: str, name: str, errors: dict[str, type[BaseException]]) -> None:
    word, _, argument = action.partition(" ")
    if word in errors:
        raise errors[word](f"failpoint {name}")
    if word == "sleep":
        time.sleep(float(argument))
    elif word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif word == "memory":
        raise MemoryError(f"failpoint {name}")
    elif word == "disk":
        raise OSError(errno.ENOSPC, f"No space left on device (failpoint {name})")
    else:
        raise RuntimeError(f"failpoint {name}: {action}")

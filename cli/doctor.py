"""`tuneyard doctor`: looks over this machine's installation. The looking is another process's."""

import os
import subprocess
import sys

from cli.up import own_broker


def doctor(*, deep: bool) -> int:
    """The exit code: 0, or 1 if something is broken."""
    # It knows database, storage and devices, which the command line does without.
    command = [sys.executable, "-m", "workers.doctor", *(["--deep"] if deep else [])]
    return subprocess.run(command, env=os.environ | own_broker()).returncode

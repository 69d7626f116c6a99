"""A contestant's side of a contest: it says when it is ready, then answers each turn with figures.

Standard library only: it runs in the environments of peers, which know nothing of this project.
"""

import json
import os
import sys
from importlib.metadata import version


class Turns:
    """From here on whatever is printed goes to stderr: stdout is for answers, a line each."""

    def __init__(self):
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def ready(self, *packages, versions=None, **about):
        """Everything is loaded; `packages` say with which versions."""
        found = {name: version(name) for name in packages}
        self._say({**about, "versions": (versions or {}) | found})

    def wait(self):
        """Block until it is this contestant's turn; False when the contest is over."""
        return bool(sys.stdin.readline())

    def answer(self, **figures):
        self._say(figures)

    def _say(self, message):
        print(json.dumps(message), file=self._answers, flush=True)

"""A process that has done the slow imports once and forks a runner whenever one is asked for.

Knows nothing of jobs. Not for jobs on a GPU, whose driver does not survive a fork. Its parent asks
by sending the runner's end of the pipe, at any time; it answers when it is ready, with the pid, and
later with how that process ended: `{"ready": true}`, `{"pid": 7}`, `{"pid": 7, "code": 0}`, a line
each.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from core.leash import die_with_parent


def fork_on_request(control: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Until the parent is gone: fork, let the child `serve` the pipe it is given, tell its end."""
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake.fileno())
    gc.collect()
    gc.freeze()  # what is imported stays shared with the children
    _tell(control, ready=True)
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _tell_ends(control)
        if control in ready:
            _, handles, _, _ = socket.recv_fds(control, 1, 1)
            if not handles:
                return
            pipe, template = socket.socket(fileno=handles[0]), os.getpid()
            pid = os.fork()
            if pid == 0:
                for mine in (control, wake, woken):
                    mine.close()
                _be_a_runner(pipe, serve, template)
            pipe.close()
            with suppress(OSError):  # here and there, so that it leads its group whoever is first
                os.setpgid(pid, pid)
            _tell(control, pid=pid)


def _be_a_runner(
    pipe: socket.socket, serve: Callable[[socket.socket], None], template: int
) -> None:
    """Never returns: what the template would do at its exit is not the runner's to do."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        die_with_parent(template)
        serve(pipe)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell_ends(control: socket.socket) -> None:
    """One signal may stand for several ends. What a runner started ends with it, killed while the
    runner is not reaped: until then its pid is no other group's."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        pid = ended.si_pid
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        _tell(control, pid=pid, code=os.waitstatus_to_exitcode(status))


def _tell(control: socket.socket, **message: object) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")

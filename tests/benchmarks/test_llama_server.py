"""The contestant that drives llama-server: its server is asked by all questions at once and never
outlives it. The server here is a few lines that speak the same two paths."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import contest as contests
from benchmarks.contest import Contestant, Player

SCRIPT = Path(contests.__file__).parent / "peers/llama_server.py"
SERVER = f"""#!{sys.executable}
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

both = threading.Barrier(2, timeout=20)

class Handler(BaseHTTPRequestHandler):
    def say(self, content):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def do_GET(self):
        self.say({{"status": "ok"}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        both.wait()  # nobody is answered before two have asked
        self.say({{"tokens_predicted": len(asked["prompt"])}})

Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
port = int(sys.argv[sys.argv.index("--port") + 1])
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def player(tmp_path):
    server, prompts = tmp_path / "server.py", tmp_path / "prompts.jsonl"
    server.write_text(SERVER)
    server.chmod(0o755)
    prompts.write_text("[1, 2, 3]\n[1, 2, 3, 4, 5]")
    told = {"server": str(server), "gguf": "none", "slots": 2, "threads": 1}
    told |= {"prompts": str(prompts), "batch": 2, "max_new_tokens": 8, "ends": []}
    code = "import importlib.metadata as m; m.version = lambda name: '0'; import runpy, sys; "
    code += "sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = (sys.executable, "-c", code, str(SCRIPT), json.dumps(told))
    environment = {"PYTHONPATH": str(SCRIPT.parent)}
    player = Player(Contestant("llama-server", command, environment), tmp_path / "log")
    yield player
    player.process.kill()


def server_of(tmp_path) -> psutil.Process:
    return psutil.Process(int((tmp_path / "server.pid").read_text()))


def gone(server: psutil.Process) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not server.is_running() or server.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_all_questions_of_a_turn_are_asked_at_once_and_the_server_ends_with_the_contest(
    player, tmp_path
):
    assert player.about["slots"] == 2
    assert player.turn()["tokens_a_request"] == 4
    server = server_of(tmp_path)
    player.leave()
    assert gone(server)


def test_a_server_does_not_outlive_a_contestant_that_is_killed(player, tmp_path):
    server = server_of(tmp_path)
    os.kill(player.process.pid, signal.SIGKILL)
    assert gone(server)

"""Contestant: llama.cpp's own server on loopback, all questions of a turn at once over HTTP, its
slots decoding together, prompt caching on."""

import ctypes
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

from turns import Turns

START_SECONDS = 120
SLOT_TOKENS = 512  # prompt and answer of one question
PR_SET_PDEATHSIG = 1


@contextmanager
def running(told):
    """The port of a server that ends with this process."""
    port = free_port()
    command = [told["server"], "--model", told["gguf"], "--host", "127.0.0.1", "--port", str(port)]
    command += ["--parallel", str(told["slots"]), "--ctx-size", str(told["slots"] * SLOT_TOKENS)]
    command += ["--threads", str(told["threads"]), "--threads-batch", str(told["threads"])]
    # Slots keep their prompts; without this each answered one would be copied to RAM, too, 8 GiB.
    command += ["--cache-ram", "0"]
    server = subprocess.Popen(command, preexec_fn=end_with_parent, stdout=sys.stderr)
    try:
        wait_until_healthy(server, port)
        yield port
    finally:
        server.terminate()
        server.wait()


def end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_until_healthy(server, port):
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            if ask(port, "GET", "/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit("llama-server did not start")


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request(method, path, body and json.dumps(body))
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def answer(port, prompt, told):
    """How many tokens came."""
    body = {"prompt": prompt, "n_predict": told["max_new_tokens"], "temperature": 0}
    status, reply = ask(port, "POST", "/completion", body | {"cache_prompt": True})
    if status != 200:
        raise SystemExit(f"llama-server says {status}: {reply}")
    return reply["tokens_predicted"]


def main():
    turns = Turns()
    told = json.loads(sys.argv[1])
    lines = Path(told["prompts"]).read_text(encoding="utf-8").splitlines()
    prompts = cycle([json.loads(line) for line in lines])
    with running(told) as port, ThreadPoolExecutor(told["batch"]) as pool:
        turns.ready("llama-cpp-python", slots=told["slots"])
        while turns.wait():
            batch = list(islice(prompts, told["batch"]))
            began = time.perf_counter()
            tokens = sum(pool.map(lambda prompt: answer(port, prompt, told), batch))
            seconds = time.perf_counter() - began
            turns.answer(
                requests_per_second=len(batch) / seconds, tokens_a_request=tokens / len(batch)
            )


main()

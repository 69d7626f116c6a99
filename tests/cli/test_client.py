"""The client of the REST API asks its platform, whatever the environment is set up for."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cli.client import Client


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"here": true}')

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def base_url():
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_is_asked_for_this_machine(base_url, monkeypatch, name):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    client = Client(base_url, "key")
    monkeypatch.setattr("cli.client.RETRY_PAUSES", ())
    assert client.get("/v1/jobs") == {"here": True}
    client.close()

"""Ports are refused with one clear sentence; answers are read past any proxy."""

import socket

import pytest

from cli.platform import ports
from cli.platform.errors import Refused


@pytest.fixture
def taken():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_taken_port_is_refused_with_the_way_out(taken):
    with pytest.raises(Refused, match=rf"port {taken} of 127.0.0.1 can't be used .*--port 0"):
        ports.take_port("127.0.0.1", taken)


def test_zero_takes_a_free_port():
    port = ports.take_port("127.0.0.1", 0)
    assert ports.take_port("127.0.0.1", port) == port


def test_a_preferred_port_gives_way(taken):
    assert ports.prefer_port("127.0.0.1", taken) not in (0, taken)


def test_an_unknown_host_is_refused():
    with pytest.raises(Refused, match="--host nowhere.invalid"):
        ports.take_port("nowhere.invalid", 0)


def test_an_address_of_another_machine_is_not_blamed_on_the_port():
    with pytest.raises(Refused, match="--host 203.0.113.7: not an address of this machine"):
        ports.take_port("203.0.113.7", 0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(Refused, match="between 0 and 65535"):
        ports.take_port("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8400"),
        ("0.0.0.0", "http://127.0.0.1:8400"),
        ("::", "http://[::1]:8400"),
        ("gpu-box", "http://gpu-box:8400"),
    ],
)
def test_the_url_is_one_that_a_client_here_can_use(host, url):
    assert ports.http_url(host, 8400) == url


def test_nobody_there_is_an_answer_too():
    assert ports.get("127.0.0.1", ports.take_port("127.0.0.1", 0), "/") == (0, b"")
    assert ports.get_json("127.0.0.1", ports.take_port("127.0.0.1", 0), "/") == {}

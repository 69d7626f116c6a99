"""One event on its way: what the other side gets, and that nothing which it does costs more than a
bounded time and memory."""

import datetime
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from openai import OpenAI

from core.webhooks import sending
from core.webhooks.events import make_event
from core.webhooks.sending import Unsent, new_secret, send
from tests.core.webhooks.receiver import answering, receiver

EVENT = make_event("fine_tuning.job.succeeded", "job_1", 1_700_000_000.5)


def post(url: str, *secrets: str, allow_private: bool = True) -> int:
    return send(url, EVENT, secrets or [new_secret()], allow_private=allow_private)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SECONDS", 0.5)


def test_the_openai_sdk_takes_what_is_sent() -> None:
    old, new = new_secret(), new_secret()
    with receiver() as hook:
        assert post(hook.url, new, old) == 200
    ((line, headers, body),) = hook.requests
    assert line == "POST /hook HTTP/1.1"
    client = OpenAI(api_key="none")
    for secret in (new, old):
        event = client.webhooks.unwrap(body, headers, secret=secret)
        assert (event.type, event.data.id) == ("fine_tuning.job.succeeded", "job_1")
    with pytest.raises(Exception, match="signature"):
        client.webhooks.unwrap(body + b" ", headers, secret=new)
    with pytest.raises(Exception, match="signature"):
        client.webhooks.unwrap(body, headers, secret=new_secret())
    assert json.loads(body) == EVENT
    assert headers["webhook-id"] == EVENT["id"]


@pytest.mark.parametrize("code", [204, 301, 404, 500])
def test_the_status_is_all_that_counts(code: int) -> None:
    with receiver(answering(code)) as hook:
        assert post(hook.url) == code


def test_a_redirect_is_not_followed() -> None:
    with receiver() as inner, receiver(answering(302, f"Location: {inner.url}")) as outer:
        assert post(outer.url) == 302
        assert inner.requests == []


@pytest.mark.fault(25)
def test_an_address_that_is_not_public_is_never_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiver() as hook:
        here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", hook.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: here)
        with pytest.raises(Unsent, match="not public"):
            post(f"https://rebound.example:{hook.port}/", allow_private=False)
        assert hook.requests == []


def test_a_name_is_looked_up_once_and_that_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    look_up = socket.getaddrinfo

    def rebinding(host: str, port: int, *rest: object, **more: object) -> list[tuple]:
        if host != "hook.example":
            return look_up(host, port, *rest, **more)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with receiver() as hook:
        assert post(f"http://hook.example:{hook.port}/") == 200
    assert asked == ["hook.example"]
    assert hook.requests[0][1]["host"] == f"hook.example:{hook.port}"


def hang(connection: socket.socket) -> None:
    connection.recv(1)  # until the other side has had enough


def drip(connection: socket.socket) -> None:
    ended = threading.Event()
    for _ in range(200):
        connection.sendall(b"H")
        ended.wait(0.05)


@pytest.mark.parametrize("behave", [hang, drip])
def test_an_endpoint_that_takes_its_time_costs_a_bounded_one(behave, hasty: None) -> None:
    with receiver(behave) as hook:
        begun = time.monotonic()
        with pytest.raises(Unsent):
            post(hook.url)
        assert time.monotonic() - begun < 2


def test_an_address_that_never_answers_leaves_the_others_their_time(
    monkeypatch: pytest.MonkeyPatch, hasty: None
) -> None:
    with receiver() as hook, unanswering("127.0.0.2", hook.port):
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, hook.port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert post(f"http://hook.example:{hook.port}/") == 200


@contextmanager
def unanswering(host: str, port: int) -> Iterator[None]:
    """A listener whose queue is full: the kernel drops whoever else wants to connect."""
    with socket.create_server((host, port), backlog=0), socket.socket() as first:
        first.connect((host, port))
        with socket.socket() as late, pytest.raises(TimeoutError):
            late.settimeout(0.1)
            late.connect((host, port))
        yield


def test_an_endless_answer_is_read_for_a_bounded_time(hasty: None) -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with receiver(pour) as hook:
        begun = time.monotonic()
        assert post(hook.url) == 200
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n", b"x" * 5000, b"HTTP/1.1 abc\r\n"])
def test_what_is_no_http_is_no_answer(said: bytes) -> None:
    with receiver(lambda connection: connection.sendall(said)) as hook, pytest.raises(Unsent):
        post(hook.url)


def test_a_refused_connection_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unsent, match="refused"):
        post(f"http://127.0.0.1:{port}/")


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context for `hook.example` alone, which this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "hook.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    sending._tls.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, port, *_, **__: [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        ],
    )
    return context


def test_the_pinned_address_has_to_show_the_names_certificate(certificate: ssl.SSLContext) -> None:
    seen: list[str | None] = []
    certificate.sni_callback = lambda _, name, __: seen.append(name)
    with receiver(tls=certificate) as hook:
        assert post(f"https://hook.example:{hook.port}/") == 200
        with pytest.raises(Unsent, match="TLS"):
            post(f"https://other.example:{hook.port}/")
    assert seen == ["hook.example", "other.example"]
    assert len(hook.requests) == 1
    sending._tls.cache_clear()


def test_an_unknown_certificate_is_refused(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    sending._tls.cache_clear()
    with receiver(tls=certificate) as hook, pytest.raises(Unsent, match="TLS"):
        post(f"https://hook.example:{hook.port}/")
    assert hook.requests == []

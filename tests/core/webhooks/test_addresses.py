"""Only public addresses are sent to, however they are written and whatever a name resolves to."""

import socket

import pytest

from core.errors import InvalidInput
from core.webhooks.addresses import NotPublic, is_public, read_url, resolve

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.5.5",
    "192.168.1.1",
    "100.64.0.1",  # carriers' networks, and a cloud's metadata
    "169.254.169.254",
    "168.63.129.16",  # public by its number, a cloud's metadata by its use
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:0:53aa:64c:0:fbff:80ff:fffe",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_known_in_every_notation(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"]
)
def test_what_is_public_is_taken(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "api.localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"]
    + ["[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.1.2.3", "[fd00:ec2::254]"],
)
def test_a_url_that_names_such_an_address_is_refused_at_once(host: str) -> None:
    with pytest.raises(InvalidInput, match="not public"):
        read_url(f"https://{host}/hook", allow_private=False)
    assert read_url(f"https://{host}/hook", allow_private=True).port == 443


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "https://",
        "https:///hook",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://[::1/",
        "https://exa mple.com/",
        "https://example.com/\r\nHost: other",
        "https://例え.jp/",
        "https://.example.com/",
        "https://user:pass@example.com/",
        "https://user@example.com/",
        "//example.com/",
        "",
    ],
)
def test_an_odd_url_is_refused_with_what_is_right(url: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(InvalidInput) as refused:
            read_url(url, allow_private=allow_private)
        assert refused.value.param == "url"


def test_plain_http_is_taken_where_private_addresses_are() -> None:
    with pytest.raises(InvalidInput, match="https is right"):
        read_url("http://example.com/", allow_private=False)
    place = read_url("http://example.com:8080?x=1", allow_private=True)
    assert (place.authority, place.path) == ("example.com:8080", "/?x=1")


def test_a_name_with_one_address_that_is_not_public_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(*_: object, **__: object) -> list[tuple]:
        return [(None, None, None, "", (ip, 443)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    place = read_url("https://mixed.example/", allow_private=False)
    with pytest.raises(NotPublic) as refused:
        resolve(place, allow_private=False)
    assert "10.0.0.1" not in str(refused.value), "our network's addresses are not told"
    assert resolve(place, allow_private=True) == ["8.8.8.8", "10.0.0.1"]

"""Which URLs are taken, and which addresses are connected to: public ones alone, unless allowed.

A name is looked up once, and what was judged is what is connected to: a second look-up could find
another address (DNS rebinding).
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import InvalidInput

URL = re.compile(r"https?://[!-~]{1,2000}")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not for everybody, by IANA's registries; which of these `ipaddress` knows depends on its version.
SPECIAL = [
    ipaddress.ip_network(name)
    for name in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/23", "5f00::/16")
]
# Where a cloud tells a machine its credentials; those of the others are not public anyway.
METADATA = ipaddress.ip_address("168.63.129.16")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotPublic(Exception):
    """The host is, or may be, a machine of ours."""


@dataclass(frozen=True)
class Place:
    """A URL, taken apart."""

    tls: bool
    host: str
    port: int
    path: str
    """With its query."""

    @property
    def authority(self) -> str:
        """As the header Host has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def read_url(url: str, *, allow_private: bool) -> Place:
    """Take a URL apart, or `InvalidInput` with what is wrong with it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is no number, brackets without an address
        host = ""
    if not URL.fullmatch(url) or not host or not _can_be_looked_up(host):
        raise _wrong("a URL in ASCII is right, such as https://example.com/hook")
    if parts.username is not None or parts.password is not None:
        raise _wrong("leave out user and password: what is sent is signed")
    tls = parts.scheme == "https"
    if not tls and not allow_private:
        raise _wrong("https is right; plain http can be read and changed on its way")
    if not allow_private and _is_ours_by_name(host):
        raise _wrong("the host's address is not public; this platform sends to public ones alone")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(tls, host, port or (443 if tls else 80), path)


def resolve(place: Place, *, allow_private: bool) -> list[str]:
    """The addresses of the host. `NotPublic` if one of them is not, OSError if it has none."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(is_public(address) for address in addresses):
        # Not which address it is: that is our network's own business.
        raise NotPublic(f"{place.host} has an address that is not public")
    return addresses


def is_public(address: str) -> bool:
    """Is this an address of the internet, whatever way it is written?"""
    ip: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _within(ip)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    odd = ip.is_private or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    special = ip == METADATA or any(ip in network for network in SPECIAL)
    return ip.is_global and not odd and not special


def _within(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one really go to, if there is one."""
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _can_be_looked_up(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:  # a label that is empty or too long
        return False
    return True


def _is_ours_by_name(host: str) -> bool:
    """What can be told without a look-up, for an early word; `resolve` decides."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    for family in (socket.AF_INET6, socket.AF_INET):
        try:
            # As the system's own look-up reads it: 127.1, 0x7f000001 and 2130706433 are one.
            packed = socket.inet_aton(host) if family == socket.AF_INET else _packed_v6(host)
            return not is_public(str(ipaddress.ip_address(packed)))
        except (OSError, ValueError):
            continue
    return False


def _packed_v6(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])


def _wrong(reason: str) -> InvalidInput:
    return InvalidInput(f"url: {reason}.", param="url")

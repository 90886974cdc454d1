"""Who calls, told by address: the subject of a limit whose client has not logged in.

The address is the one that the server saw. What a client writes about itself is never believed, and
what a proxy writes only where ``trusted_proxies`` says so. This module counts nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    collapse_addresses,
    ip_interface,
)
from socket import AF_INET, AF_INET6, inet_ntoa, inet_pton
from typing import Literal, NamedTuple
from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.types import Scope

from envelope.errors.tree import ConfigurationError

#: Judged texts that each ``ClientAddress`` remembers; beyond that the longest unused is forgotten.
_REMEMBERED = 8192

#: Characters of a host name (RFC 1035, 2.3.4); what is longer is neither a name nor an address.
_LONGEST = 255

#: Elements of ``X-Forwarded-For`` that are looked at, so that a huge header costs no more than a small one.
_MOST_HOPS = 20

#: Addresses are numbers of 128 bits; IPv4 is at home in ``::ffff:0:0/96`` (RFC 4291, 2.5.5.2).
_MAPPED = 0xFFFF << 32

#: The upper 96 bits of what is an IPv4 client all the same: mapped, or behind a NAT64 (RFC 6052, 2.1).
_IPV4_IN_IPV6 = frozenset({_MAPPED >> 32, 0x0064_FF9B << 64})

#: All of IPv4, all public IPv6 (RFC 4291, 2.4), all of IPv4 behind a NAT64.
_EVERYONE = (IPv6Network("::ffff:0:0/96"), IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96"))

#: ``1.2.3.4:5`` and ``[2001:db8::1]:443``; an IPv6 address without brackets carries no port.
_WITH_PORT = re.compile(r"(?:\[([^\]]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


class _Identity(NamedTuple):
    key: str | None  # None: the text is no address
    is_trusted: bool


@dataclass(frozen=True, kw_only=True)
class ClientAddress:
    """The key of a limit that counts each client address on its own.

    An IPv4 client is its address, ``"203.0.113.7"``, also where it arrives as ``::ffff:203.0.113.7`` or
    through a NAT64 (``64:ff9b::/96``). An IPv6 client is its network, ``"2001:db8:1:2::/64"``, because it
    chooses the rest freely. A host that is no address, as in tests, is its percent-encoded name.

    Behind a proxy every client has the proxy's address, until ``trusted_proxies`` names the proxy::

        ClientAddress(trusted_proxies=["10.0.0.0/8", "2001:db8:ffff::/48"])

    Then the client is the right-most element of ``X-Forwarded-For`` that is no trusted proxy: each proxy
    appends the peer that it saw, and everything further left may be forged. If that element is no address, or
    stands behind more than 20 proxies, the client is unidentified. ``Forwarded``, ``X-Real-IP`` and the like
    are never read: a proxy that sets one header passes the others on as the client wrote them.

    If the server rewrites the address already (uvicorn's ``--proxy-headers``), leave ``trusted_proxies``
    empty, and never set ``--forwarded-allow-ips='*'``: it takes the left-most element, which clients forge.

    Args:
        trusted_proxies: Addresses and networks (CIDR) of your proxies. ``"unix"`` trusts peers without an
            address, such as an nginx on the same machine that connects over a unix socket.
        ipv6_prefix: Bits of an IPv6 address that make one client, 32 to 128.
        unidentified: What the limiter does with a request whose client cannot be identified.

    Raises:
        ConfigurationError: A proxy is no address and no network, the proxies are everyone, or another
            option is out of its range.
    """

    trusted_proxies: Sequence[str] = ()
    ipv6_prefix: int = 64
    unidentified: Literal["allow", "deny"] = "allow"
    _identify: Callable[[str], _Identity] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_sequence(self.trusted_proxies)
        _check_prefix(self.ipv6_prefix)
        _check_unidentified(self.unidentified)
        networks = _read_networks(self.trusted_proxies)
        identify = functools.partial(_identify, ipv6_prefix=self.ipv6_prefix, trusted=networks)
        object.__setattr__(self, "trusted_proxies", tuple(self.trusted_proxies))
        object.__setattr__(self, "_identify", functools.lru_cache(_REMEMBERED)(identify))

    def __call__(self, request: HTTPConnection) -> str | None:
        """Give the key of a request's client; None if it cannot be identified."""
        return self.of_scope(request.scope)

    def of_scope(self, scope: Scope) -> str | None:
        """Give the key of a scope's client without making a request of it; None if it cannot be identified."""
        client = scope.get("client")
        host = client[0] if client else None
        if not host or host == "unknown":
            return self._of_forwarded(scope["headers"], None) if "unix" in self.trusted_proxies else None
        if len(host) > _LONGEST:
            return None
        key, is_trusted = self._identify(host)
        if is_trusted:
            return self._of_forwarded(scope["headers"], key)
        # Encoded, a name has neither "/" nor ":", and so it is never the key of a network.
        return key or quote(host, safe="", errors="surrogatepass")

    def _of_forwarded(self, headers: Iterable[tuple[bytes, bytes]], peer: str | None) -> str | None:
        key = peer
        lines = [value for name, value in headers if name == b"x-forwarded-for"]
        for hop, element in enumerate(_elements_from_the_right(lines)):
            if hop == _MOST_HOPS:
                return None
            key, is_trusted = self._identify(element)
            if not is_trusted:
                break
        return key


def _elements_from_the_right(lines: Sequence[bytes]) -> Iterator[str]:
    """Yield the elements of all lines, last first; one that is too long for an address is yielded as ``""``."""
    for line in reversed(lines):
        end = len(line)
        while end >= 0:
            start = line.rfind(b",", max(end - _LONGEST, 0), end) + 1
            yield line[start:end].decode("latin-1").strip(' \t"') if end - start <= _LONGEST else ""
            end = start - 1


def _identify(text: str, *, ipv6_prefix: int, trusted: Sequence[tuple[int, int]]) -> _Identity:
    bits = _read_address(text)
    if bits is None:
        return _Identity(key=None, is_trusted=False)
    # A NAT64 address is compared as it is: it came from outside, even if the IPv4 address in it is one of ours.
    is_trusted = any(bits >> shift == network for network, shift in trusted)
    if bits >> 32 in _IPV4_IN_IPV6:
        return _Identity(inet_ntoa((bits & 0xFFFF_FFFF).to_bytes(4, "big")), is_trusted)
    return _Identity(_describe_network(bits >> (128 - ipv6_prefix), ipv6_prefix), is_trusted)


def _read_address(text: str) -> int | None:
    match = _WITH_PORT.fullmatch(text) if ":" in text else None
    host = (match[1] or match[2]) if match else text
    # inet_pton reads what ipaddress reads, ten times as fast.
    try:
        if ":" in host:
            return int.from_bytes(inet_pton(AF_INET6, host.partition("%")[0]), "big")
        return _MAPPED | int.from_bytes(inet_pton(AF_INET, host), "big")
    except (OSError, ValueError):  # ValueError: NUL and lone surrogates
        return None


@functools.lru_cache(_REMEMBERED)
def _describe_network(network: int, prefix: int) -> str:
    # Not inet_ntop: C libraries abbreviate differently, and the processes of a fleet share their keys.
    return f"{IPv6Address(network << (128 - prefix))}/{prefix}"


def _read_networks(proxies: Sequence[object]) -> list[tuple[int, int]]:
    """Read the trusted networks as pairs: the bits of the network, and how many follow them in an address."""
    networks = list(collapse_addresses(_read_network(proxy) for proxy in proxies if proxy != "unix"))
    if _are_everyone(networks):
        raise _everyone_is_trusted(f"are {list(proxies)!r}, which together are")
    shifts = [(network, 128 - network.prefixlen) for network in networks]
    return [(int(network.network_address) >> shift, shift) for network, shift in shifts]


def _read_network(proxy: object) -> IPv6Network:
    if proxy == "*":
        raise _everyone_is_trusted(f"hold {proxy!r}, which is")
    interface = _read_interface(proxy)
    if interface is None:
        raise ConfigurationError(
            f"trusted_proxies hold {proxy!r}; write an address such as '10.0.0.1' (without port and zone), a"
            " network such as '10.0.0.0/8', or 'unix' for a proxy that connects over a unix socket"
        )
    network = _in_ipv6(interface.network) if isinstance(interface, IPv4Interface) else interface.network
    if _are_everyone([network]):
        raise _everyone_is_trusted(f"hold {proxy!r}, which is")
    if interface.ip != interface.network.network_address:
        raise ConfigurationError(
            f"trusted_proxies hold {proxy!r}, which is an address inside a network;"
            f" write {str(interface.network)!r} for the network or {str(interface.ip)!r} for the address"
        )
    return network


def _read_interface(proxy: object) -> IPv4Interface | IPv6Interface | None:
    if not isinstance(proxy, str) or "%" in proxy:
        return None
    try:
        return ip_interface(proxy)
    except ValueError:
        return None


def _in_ipv6(network: IPv4Network) -> IPv6Network:
    return IPv6Network((_MAPPED | int(network.network_address), 96 + network.prefixlen))


def _are_everyone(networks: Sequence[IPv6Network]) -> bool:
    return any(network.supernet_of(everyone) for network in networks for everyone in _EVERYONE)


def _everyone_is_trusted(seen: str) -> ConfigurationError:
    return ConfigurationError(
        f"trusted_proxies {seen} everyone: each client could choose the address that it is counted by;"
        " name the networks of your proxies only: trusted_proxies=['10.0.0.0/8']"
    )


def _check_sequence(proxies: object) -> None:
    if isinstance(proxies, str):
        raise ConfigurationError(
            f"trusted_proxies is {proxies!r}; give a list of addresses: trusted_proxies=[{proxies!r}]"
        )
    if not isinstance(proxies, Sequence):
        raise ConfigurationError(
            f"trusted_proxies is {proxies!r}; give a list of addresses: trusted_proxies=['10.0.0.0/8']"
        )


def _check_prefix(prefix: object) -> None:
    if not isinstance(prefix, int) or isinstance(prefix, bool) or not 32 <= prefix <= 128:
        raise ConfigurationError(
            f"ipv6_prefix is {prefix!r}; give the bits that make one client, a whole number from 32 to 128:"
            " 64 is one network, 128 one address"
        )


def _check_unidentified(policy: object) -> None:
    if policy not in ("allow", "deny"):
        raise ConfigurationError(
            f"unidentified is {policy!r}; write 'allow' to serve clients that cannot be identified uncounted,"
            " or 'deny' to refuse them"
        )


#: The key of limits that name no other: the address of the peer.
client_address = ClientAddress()

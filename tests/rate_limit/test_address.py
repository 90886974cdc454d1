"""Client addresses: one client is one key in every notation, and nobody chooses the key that it is counted by."""

import copy
import dataclasses
import ipaddress
import math
import re
import threading
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.address import ClientAddress, client_address

PROXIES = ("10.0.0.0/8", "192.0.2.9", "2001:db8:ffff::/48")
behind_proxies = ClientAddress(trusted_proxies=PROXIES)
behind_unix = ClientAddress(trusted_proxies=["unix", "10.0.0.0/8"])
# A run is some microseconds; a deadline would time the machine.
without_deadline = settings(deadline=None)

ipv4 = st.ip_addresses(v=4)
ipv6 = st.ip_addresses(v=6)
public = ipv4.filter(
    lambda address: address not in ipaddress.ip_network("10.0.0.0/8") and str(address) != "192.0.2.9"
)
# What a client may write: header values as servers pass them on, commas and all.
forged = st.lists(
    st.one_of(
        st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20).map(
            lambda text: text.encode("latin-1")
        ),
        st.one_of(ipv4, ipv6).map(lambda address: str(address).encode()),
        st.sampled_from([b"10.0.0.1", b"10.0.0.1, 10.0.0.2", b"unknown", b",,,", b'"', b"[", b"10.0.0.1," * 30]),
    ),
    max_size=4,
)


def _scope(host: Any, *lines: bytes, others: tuple[tuple[bytes, bytes], ...] = ()) -> dict[str, Any]:
    headers = [(b"host", b"a"), *others, *((b"x-forwarded-for", line) for line in lines), (b"accept", b"*/*")]
    return {"type": "http", "client": (host, 1234), "headers": headers}


def _key(host: Any, *lines: bytes, by: ClientAddress = client_address) -> str | None:
    return by.of_scope(_scope(host, *lines))


def _oracle(address: Any, prefix: int = 64) -> str:
    """What the key of an address is, said with ``ipaddress`` alone."""
    if address.version == 6:
        embedded = address.ipv4_mapped
        if address in ipaddress.ip_network("64:ff9b::/96"):
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is None:
            return str(ipaddress.ip_network((address, prefix), strict=False))
        address = embedded
    return str(address)


def _count_networks(number: int) -> str:
    return f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"


# The peer


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:443", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("0:0:0:0:0:ffff:cb00:7107", "203.0.113.7"),
        ("0000:0000:0000:0000:0000:ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("::ffff:203.0.113.7%eth0", "203.0.113.7"),
        ("64:ff9b::203.0.113.7", "203.0.113.7"),
        ("64:ff9b::cb00:7107", "203.0.113.7"),
        ("0064:FF9B:0:0:0:0:CB00:7107", "203.0.113.7"),
        ("64:ff9b:1::203.0.113.7", "64:ff9b:1::/64"),
        ("::fffe:203.0.113.7", "::/64"),
        ("::203.0.113.7", "::/64"),
        ("::1", "::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002:0000:0000:0000:0001", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("2001:0:0:1::1", "2001:0:0:1::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1", "fe80::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::2%25", "fe80::/64"),
    ],
)
def test_notation_has_one_key(host: str, key: str) -> None:
    """One client has one key, however the server writes its address."""
    assert _key(host) == key


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("testclient", "testclient"),
        ("2001:db8:1:2::/64", "2001%3Adb8%3A1%3A2%3A%3A%2F64"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("203.0.113.07", "203.0.113.07"),
        ("203.0.113", "203.0.113"),
        ("203.0.113.7%eth0", "203.0.113.7%25eth0"),
        ("203.0.113.7:http", "203.0.113.7%3Ahttp"),
        ("\0", "%00"),
        ("\udc80", "%ED%B2%80"),
        ("ünix", "%C3%BCnix"),
        ("x" * 255, "x" * 255),
    ],
)
def test_name_is_encoded(host: str, key: str) -> None:
    """A host that is no address is a key of its own, which no address has."""
    assert _key(host) == key


@pytest.mark.parametrize("client", [None, (), ("", 0), ("unknown", 0), (None, None), ("x" * 256, 0), ["", 0]])
def test_client_without_address_is_unidentified(client: object) -> None:
    """Clients without an address share no key: there is none."""
    assert client_address.of_scope({"type": "http", "client": client, "headers": []}) is None


def test_client_missing_from_scope_is_unidentified() -> None:
    """ASGI leaves ``client`` to the server."""
    assert client_address.of_scope({"type": "http", "headers": []}) is None


@pytest.mark.parametrize("type_", ["http", "websocket"])
def test_connection_is_its_scope(type_: str) -> None:
    """The key of a connection is that of its scope, whatever the protocol."""
    assert client_address(HTTPConnection({**_scope("::ffff:203.0.113.7"), "type": type_})) == "203.0.113.7"


def test_test_client_is_identified() -> None:
    """Under Starlette's TestClient every request comes from the same client."""

    async def endpoint(request):
        return PlainTextResponse(str(client_address(request)))

    with TestClient(Starlette(routes=[Route("/", endpoint)])) as client:
        assert client.get("/").text == "testclient"


@without_deadline
@given(ipv4)
def test_ipv4_is_its_canonical_text(address: ipaddress.IPv4Address) -> None:
    """An IPv4 address, mapped or behind a NAT64, in dotted or hexadecimal notation, is the same client."""
    number = int(address)
    mapped, nat64 = ipaddress.IPv6Address(0xFFFF << 32 | number), ipaddress.IPv6Address(0x64FF9B << 96 | number)
    notations = {
        str(address),
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}",
        mapped.exploded,
        mapped.exploded.upper(),
        nat64.compressed,
        nat64.exploded,
    }

    assert {_key(notation) for notation in notations} == {str(address)}


@without_deadline
@given(ipv6, st.integers(32, 128))
def test_ipv6_is_its_network(address: ipaddress.IPv6Address, prefix: int) -> None:
    """An IPv6 address is the network that ``ipaddress`` makes of it, in every notation."""
    by = ClientAddress(ipv6_prefix=prefix)
    notations = {str(address), address.exploded, address.exploded.upper(), f"[{address}]:443", f"{address}%eth0"}

    assert {_key(notation, by=by) for notation in notations} == {_oracle(address, prefix)}


@without_deadline
@given(ipv6, ipv6, st.integers(0, 128), st.sampled_from([32, 48, 56, 64, 96, 128]))
def test_same_network_is_same_key(first: Any, second: Any, common: int, prefix: int) -> None:
    """Two addresses share a key exactly if they share the first bits, however close they are."""
    mask = (1 << (128 - common)) - 1
    second = ipaddress.IPv6Address(int(first) & ~mask | int(second) & mask)
    by = ClientAddress(ipv6_prefix=prefix)

    assert (_key(str(first), by=by) == _key(str(second), by=by)) is (
        _oracle(first, prefix) == _oracle(second, prefix)
    )


@without_deadline
@given(
    st.one_of(
        st.text(max_size=50),
        st.text("0123456789abcdefABCDEF:.", max_size=45),
        st.lists(st.integers(0, 300).map(str) | st.sampled_from(["", "01", "0x1", " 1"]), max_size=6).map(
            ".".join
        ),
        st.lists(
            st.integers(0, 0x1FFFF).map("{:x}".format) | st.sampled_from(["", "00001", "1.2.3.4"]), max_size=9
        ).map(":".join),
    )
)
def test_reads_what_ipaddress_reads(host: str) -> None:
    """What is an address, and which, is judged as ``ipaddress`` judges it."""
    assume(host and host != "unknown" and not re.search(r"[%\[]|^[0-9.]+:[0-9]+$", host))
    try:
        expected = _oracle(ipaddress.ip_address(host))
    except ValueError:
        assert not re.search("[/:]", _key(host) or "/")
    else:
        assert _key(host) == expected


names = st.text(min_size=1, max_size=20).filter(lambda name: not re.search(r"[%\[:]|^unknown$", name))


@without_deadline
@given(st.lists(st.one_of(names, ipv4.map(str), ipv6.map(_oracle)), unique=True, max_size=10))
def test_different_hosts_have_different_keys(hosts: list[str]) -> None:
    """Names and addresses never meet in one key, not even a name that is written as a key."""
    assert len({_key(host) for host in hosts}) == len(hosts)


# Behind proxies


@pytest.mark.parametrize("lines", [(b"198.51.100.1",), (b"198.51.100.1, 10.0.0.1", b"10.0.0.2"), (b"",)])
@pytest.mark.parametrize("by", [client_address, behind_proxies, behind_unix], ids=repr)
def test_stranger_is_not_believed(lines: tuple[bytes, ...], by: ClientAddress) -> None:
    """A peer that is no trusted proxy is the client, whatever it forwards."""
    assert _key("203.0.113.7", *lines, by=by) == "203.0.113.7"
    assert _key("a-name", *lines, by=by) == "a-name"


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ([b"203.0.113.7"], "203.0.113.7"),
        ([b"  203.0.113.7\t"], "203.0.113.7"),
        ([b"203.0.113.7:5"], "203.0.113.7"),
        ([b'"203.0.113.7:5"'], "203.0.113.7"),
        ([b"::ffff:203.0.113.7"], "203.0.113.7"),
        ([b"2001:db8:1:2::1"], "2001:db8:1:2::/64"),
        ([b"[2001:db8:1:2::1]"], "2001:db8:1:2::/64"),
        ([b'"[2001:db8:1:2::1]:443"'], "2001:db8:1:2::/64"),
        ([b"198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ([b"198.51.100.1,203.0.113.7,10.0.0.1"], "203.0.113.7"),
        ([b"198.51.100.1", b"203.0.113.7", b"10.0.0.1:80, 192.0.2.9"], "203.0.113.7"),
        ([b"198.51.100.1, 203.0.113.7, [::ffff:10.0.0.1]:80, 2001:db8:ffff::1"], "203.0.113.7"),
        ([b"203.0.113.7, ::ffff:a00:1"], "203.0.113.7"),
        ([b"203.0.113.7, 64:ff9b::10.0.0.1"], "10.0.0.1"),
        ([b"10.0.0.3, 10.0.0.2", b"10.0.0.1"], "10.0.0.3"),
        ([b"2001:db8:ffff::1, 10.0.0.1"], "2001:db8:ffff::/64"),
        ([b"198.51.100.1, unknown"], None),
        ([b"198.51.100.1, _hidden, 10.0.0.1"], None),
        ([b"198.51.100.1, a-name"], None),
        ([b"198.51.100.1, 203.0.113.7:http"], None),
        ([b"198.51.100.1, [203.0.113.7"], None),
        ([b"198.51.100.1, [2001:db8::1]x"], None),
        ([b"198.51.100.1, [2001:db8::1"], None),
        ([b"198.51.100.1, 203.0.113.07"], None),
        ([b"198.51.100.1, \xff\x00"], None),
        ([b"198.51.100.1, , 10.0.0.1"], None),
        ([b"198.51.100.1,"], None),
        ([b"198.51.100.1", b""], None),
        ([b""], None),
        ([], "10.9.9.9"),
    ],
)
def test_client_is_right_most_stranger(lines: list[bytes], key: str | None) -> None:
    """The right-most element that is no trusted proxy is the client; if it is no address, there is none."""
    assert _key("10.9.9.9", *lines, by=behind_proxies) == key


@pytest.mark.parametrize(
    "peer", ["10.9.9.9", "::ffff:10.9.9.9", "::ffff:a09:909", "192.0.2.9", "2001:db8:ffff:1::1"]
)
def test_peer_is_trusted_in_every_notation(peer: str) -> None:
    """A dual-stack server writes the proxy's IPv4 address as a mapped one; it is the same proxy."""
    assert _key(peer, b"203.0.113.7", by=behind_proxies) == "203.0.113.7"


@pytest.mark.parametrize(
    "peer", ["11.0.0.0", "9.255.255.255", "192.0.2.8", "64:ff9b::10.0.0.1", "2001:db8:fffe::1"]
)
def test_peer_outside_is_not_trusted(peer: str) -> None:
    """Networks end where their bits end, and a NAT64 brings strangers."""
    assert _key(peer, b"198.51.100.1", by=behind_proxies) != "198.51.100.1"


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "::ffff:a00:0/104", "10.0.0.0/255.0.0.0"])
def test_network_is_trusted_in_every_notation(network: str) -> None:
    """A mapped network holds the IPv4 addresses in it."""
    by = ClientAddress(trusted_proxies=[network])

    assert _key("10.9.9.9", b"203.0.113.7", by=by) == "203.0.113.7"
    assert _key("11.9.9.9", b"203.0.113.7", by=by) == "11.9.9.9"


@pytest.mark.parametrize("client", [None, ("", 0), ("unknown", 0)])
def test_unix_peer_is_trusted_if_named(client: object) -> None:
    """Behind an nginx on a unix socket the header is believed, only where ``"unix"`` is trusted."""
    scope = {**_scope(None, b"198.51.100.1, 203.0.113.7, 10.0.0.1"), "client": client}

    assert behind_unix.of_scope(scope) == "203.0.113.7"
    assert behind_proxies.of_scope(scope) is None
    assert client_address.of_scope(scope) is None


def test_unix_peer_without_header_is_unidentified() -> None:
    """A peer without an address and without a header is nobody."""
    assert _key(None, by=behind_unix) is None


@pytest.mark.parametrize("element", [b"unix", b"unknown", b""])
def test_unix_trusts_no_element(element: bytes) -> None:
    """``"unix"`` is about the peer: an element without an address is never skipped."""
    assert _key(None, b"198.51.100.1, " + element, by=behind_unix) is None


def test_other_headers_are_not_read() -> None:
    """A proxy that sets ``X-Forwarded-For`` passes on what the client wrote into the others."""
    names = (b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip", b"x-forwarded")
    others = tuple((name, b"for=198.51.100.1" if name == b"forwarded" else b"198.51.100.1") for name in names)

    assert behind_proxies.of_scope(_scope("10.9.9.9", others=others)) == "10.9.9.9"
    assert behind_proxies.of_scope(_scope("10.9.9.9", b"203.0.113.7", others=others)) == "203.0.113.7"


@without_deadline
@given(
    public, forged, st.lists(st.sampled_from([b"10.0.0.1", b"192.0.2.9:80", b"[2001:db8:ffff::1]"]), max_size=5)
)
def test_forged_elements_change_nothing(client: Any, forged: list[bytes], proxies: list[bytes]) -> None:
    """Where each proxy appends the peer that it saw, a client cannot move its key by anything that it sends."""
    seen = b", ".join([str(client).encode(), *proxies])
    appended = [*forged[:-1], forged[-1] + b", " + seen] if forged else [seen]

    assert _key("10.9.9.9", *appended, by=behind_proxies) == str(client)
    assert _key("10.9.9.9", *forged, seen, by=behind_proxies) == str(client)
    assert _key(str(client), *forged, by=behind_proxies) == str(client)


# Bounds


@pytest.mark.parametrize(("hops", "key"), [(19, "203.0.113.7"), (20, None), (21, None), (100, None)])
def test_client_behind_too_many_proxies_is_unidentified(hops: int, key: str | None) -> None:
    """Twenty elements are looked at, in one line or in many."""
    elements = [b"203.0.113.7", *[b"10.0.0.1"] * hops]

    assert _key("10.9.9.9", b",".join(elements), by=behind_proxies) == key
    assert _key("10.9.9.9", *elements, by=behind_proxies) == key


@pytest.mark.parametrize(("hops", "key"), [(20, "10.0.0.1"), (21, None)])
def test_left_most_of_trusted_is_client(hops: int, key: str | None) -> None:
    """If all are trusted, the left-most is the client, as long as it is within sight."""
    assert _key("10.9.9.9", b",".join([b"10.0.0.1"] * hops), by=behind_proxies) == key


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b" " * 255 + b"203.0.113.7", None),
        (b"198.51.100.1," + b" " * 255 + b"203.0.113.7", None),
        (b"x" * 5_000_000, None),
        (b"x" * 5_000_000 + b",203.0.113.7", "203.0.113.7"),
        (b"1.1.1.1," * 1_000_000 + b"203.0.113.7", "203.0.113.7"),
        (b"10.0.0.1," * 1_000_000, None),
        (b"," * 5_000_000 + b"10.0.0.1", None),
    ],
    ids=lambda value: repr(value)[-30:],
)
def test_huge_header_is_bounded(line: bytes, key: str | None) -> None:
    """Only the end of a line is read, and only as far as twenty addresses reach."""
    counted = _CountingLine(line)

    assert _key("10.9.9.9", counted, by=behind_proxies) == key
    assert counted.read <= 2 * 21 * 256


class _CountingLine(bytes):
    """A line that counts the bytes that are searched or copied."""

    read = 0

    def rfind(self, sub: Any, start: Any = 0, end: Any = None, /) -> int:
        self.read += len(self) if end is None else end - start
        return super().rfind(sub, start, end)

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        self.read += len(part)
        return part

    def _read_all(self, *_: Any) -> Any:
        self.read = math.inf  # type: ignore[assignment]
        return NotImplemented

    split = rsplit = decode = _read_all  # type: ignore[assignment]
    strip = partition = rpartition = join = __add__ = __iter__ = _read_all


def test_memory_is_bounded() -> None:
    """Many clients do not make the memory grow: each instance remembers 8,192 texts."""
    by = ClientAddress(trusted_proxies=["10.0.0.0/8"])

    keys = {_key(_count_networks(number), by=by) for number in range(10_000)}

    assert len(keys) == 10_000
    assert by._identify.cache_info().currsize == 8192  # type: ignore[attr-defined]


def test_long_host_is_not_remembered() -> None:
    """A text that is too long for a host is not kept."""
    by = ClientAddress()

    assert _key("x" * 1_000_000, by=by) is None
    assert by._identify.cache_info().currsize == 0  # type: ignore[attr-defined]


def test_threads_see_the_same_keys() -> None:
    """Threads share an instance without a lock."""
    by = ClientAddress(trusted_proxies=["10.0.0.0/8"])
    wrong: list[str | None] = []

    def ask() -> None:
        for number in range(2000):
            host = _count_networks(number)
            key = _key("10.0.0.1", host.encode(), by=by)
            if key != _oracle(ipaddress.ip_address(host)):
                wrong.append(key)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


# The object


def test_is_a_value() -> None:
    """Two of the same options are equal, hash alike, and say what they are."""
    first = ClientAddress(trusted_proxies=["10.0.0.0/8"], ipv6_prefix=56, unidentified="deny")
    second = ClientAddress(trusted_proxies=("10.0.0.0/8",), ipv6_prefix=56, unidentified="deny")

    assert first == second == copy.deepcopy(first)
    assert hash(first) == hash(second)
    assert first != client_address
    assert eval(repr(first)) == first
    assert repr(first) == "ClientAddress(trusted_proxies=('10.0.0.0/8',), ipv6_prefix=56, unidentified='deny')"


@pytest.mark.parametrize("name", ["trusted_proxies", "ipv6_prefix", "unidentified", "other"])
def test_is_immutable(name: str) -> None:
    """An option of a key in use is not changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(client_address, name, 1)


def test_list_of_proxies_is_copied() -> None:
    """The list that was given may change afterwards; the trust does not."""
    proxies = ["10.0.0.0/8"]
    by = ClientAddress(trusted_proxies=proxies)

    proxies.append("unix")

    assert _key(None, b"203.0.113.7", by=by) is None
    assert by.trusted_proxies == ("10.0.0.0/8",)


def test_default_trusts_nobody() -> None:
    """Without options no header is read, and clients without an address are allowed."""
    assert client_address == ClientAddress(trusted_proxies=(), ipv6_prefix=64, unidentified="allow")


# Configuration

_NO_ADDRESS = (
    "trusted_proxies hold {!r}; write an address such as '10.0.0.1' (without port and zone), a network such as"
    " '10.0.0.0/8', or 'unix' for a proxy that connects over a unix socket"
)
_EVERYONE = (
    " everyone: each client could choose the address that it is counted by; name the networks of your proxies only:"
    " trusted_proxies=['10.0.0.0/8']"
)
_INSIDE = (
    "trusted_proxies hold {!r}, which is an address inside a network;"
    " write {!r} for the network or {!r} for the address"
)


@pytest.mark.parametrize(
    ("proxies", "text"),
    [
        ("10.0.0.1", "trusted_proxies is '10.0.0.1'; give a list of addresses: trusted_proxies=['10.0.0.1']"),
        (None, "trusted_proxies is None; give a list of addresses: trusted_proxies=['10.0.0.0/8']"),
        (
            {"10.0.0.1"},
            "trusted_proxies is {'10.0.0.1'}; give a list of addresses: trusted_proxies=['10.0.0.0/8']",
        ),
        *[
            ([proxy], _NO_ADDRESS.format(proxy))
            for proxy in (
                "",
                "nginx",
                "10.0.0",
                "10.0.0.0/33",
                "10.0.0.0/",
                "10.0.0.01",
                "10.0.0.1:80",
                "[::1]",
                "fe80::1%eth0",
                " 10.0.0.1",
                "UNIX",
                1,
                None,
                ipaddress.ip_network("10.0.0.0/8"),
            )
        ],
        *[
            ([proxy], f"trusted_proxies hold {proxy!r}, which is{_EVERYONE}")
            for proxy in (
                "*",
                "0.0.0.0/0",
                "10.0.0.1/0",
                "::/0",
                "2001:db8::/0",
                "2000::/3",
                "::ffff:0:0/96",
                "::ffff:10.0.0.0/8",
                "::/64",
                "64:ff9b::/96",
            )
        ],
        (
            ["0.0.0.0/1", "128.0.0.0/1"],
            f"trusted_proxies are ['0.0.0.0/1', '128.0.0.0/1'], which together are{_EVERYONE}",
        ),
        (["10.0.0.1/8"], _INSIDE.format("10.0.0.1/8", "10.0.0.0/8", "10.0.0.1")),
        (["2001:db8::1/32"], _INSIDE.format("2001:db8::1/32", "2001:db8::/32", "2001:db8::1")),
        (["10.0.0.0/8", "192.0.2.9/24"], _INSIDE.format("192.0.2.9/24", "192.0.2.0/24", "192.0.2.9")),
    ],
)
def test_wrong_proxies_are_refused(proxies: Any, text: str) -> None:
    """Trust that is not spelt out is refused, and the text says what to write."""
    with pytest.raises(ConfigurationError) as caught:
        ClientAddress(trusted_proxies=proxies)

    assert str(caught.value) == text


@pytest.mark.parametrize("prefix", [31, 129, 0, -1, 64.0, "64", None, True])
def test_wrong_prefix_is_refused(prefix: Any) -> None:
    """A prefix that makes a continent one client, or none at all, is refused."""
    with pytest.raises(ConfigurationError) as caught:
        ClientAddress(ipv6_prefix=prefix)

    assert str(caught.value) == (
        f"ipv6_prefix is {prefix!r}; give the bits that make one client, a whole number from 32 to 128:"
        " 64 is one network, 128 one address"
    )


@pytest.mark.parametrize("policy", ["Allow", "", None, ["allow"], True])
def test_wrong_policy_is_refused(policy: Any) -> None:
    """A policy that nobody knows must not fall open."""
    with pytest.raises(ConfigurationError) as caught:
        ClientAddress(unidentified=policy)

    assert str(caught.value) == (
        f"unidentified is {policy!r}; write 'allow' to serve clients that cannot be identified uncounted,"
        " or 'deny' to refuse them"
    )

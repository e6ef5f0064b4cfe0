"""The SSRF guard: connections to public addresses only, checked on the address that is really connected.

Choice: the check sits where sockets are made, which sees the address of every connection just before it opens:
literals, redirects and names that change their answer between two look-ups (rebinding) included. The resolver drops
such addresses earlier, so that a name with one public address among others still works. Cost: the table below must
follow the registries, and a network that reaches the IPv4 web through NAT64 alone cannot crawl. Alternative: a check of
names only, which forgets literals, or `ipaddress.is_global`, which lets 6to4, Teredo, NAT64, site-local and multicast
through in Python 3.11.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and the RFC named in each line), IANA IPv6
Global Unicast Address Assignments (2000::/3, RFC 4291), IANA IPv4 Multicast Address Space Registry (RFC 5771).
Entries that the registries call globally reachable and that hold no private service (AS112, AMT relays) stay public.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import aiohappyeyeballs

from pipeline.config import PagesSettings
from pipeline.fetch.outage import Reached
from pipeline.shards.outcomes import ConfigError

V4_NOT_PUBLIC = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network: RFC 791
        "10.0.0.0/8",  # private: RFC 1918
        "100.64.0.0/10",  # shared, carrier-grade NAT; a cloud's metadata at 100.100.100.200: RFC 6598
        "127.0.0.0/8",  # loopback: RFC 1122
        "168.63.129.16/32",  # Azure's WireServer: public space, but answered by the machine's own host
        "169.254.0.0/16",  # link-local, with the clouds' metadata at 169.254.169.254: RFC 3927
        "172.16.0.0/12",  # private: RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments, DS-Lite, NAT64 discovery: RFC 6890
        "192.0.2.0/24",  # documentation, TEST-NET-1: RFC 5737
        "192.88.99.0/24",  # 6to4 relay anycast, deprecated: RFC 7526
        "192.168.0.0/16",  # private: RFC 1918
        "198.18.0.0/15",  # benchmarking: RFC 2544
        "198.51.100.0/24",  # documentation, TEST-NET-2: RFC 5737
        "203.0.113.0/24",  # documentation, TEST-NET-3: RFC 5737
        "224.0.0.0/4",  # multicast: RFC 5771
        "240.0.0.0/4",  # reserved, and limited broadcast: RFC 1112, RFC 919
    )
)

# All of IPv6 that is assigned for hosts lies in here. Outside: unspecified ::, loopback ::1, v4-compatible ::/96,
# v4-mapped ::ffff:0:0/96, NAT64 64:ff9b::/96 and 64:ff9b:1::/48, discard 100::/64, SRv6 5f00::/16, unique local
# fc00::/7, link-local fe80::/10, site-local fec0::/10, multicast ff00::/8.
V6_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
V6_NOT_PUBLIC = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID, DRIP: RFC 2928
        "2001:db8::/32",  # documentation: RFC 3849
        "2002::/16",  # 6to4, which wraps any IPv4 address: RFC 3056
        "3ffe::/16",  # 6bone, returned: RFC 3701
        "3fff::/20",  # documentation: RFC 9637
    )
)

RESOLVING_THREADS = 64  # getaddrinfo blocks; a slow name server must not hold up the names of others
DNS_CACHE_S = 300.0  # how long an answer counts, what common resolvers of browsers keep at least
DNS_CACHE_NAMES = 50_000  # the oldest are forgotten
NEXT_ADDRESS_S = 0.25  # until a name's next address is tried beside the one before: RFC 8305, section 5
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]  # as getaddrinfo gives it: the last begins with the address


class NotPublic(OSError):  # noqa: N818 - named for what happened
    """The address to be connected is not a public one. No packet was sent to it."""


class Vouched(str):
    """An address that the settings name: only a string of this very type passes the guard unchecked."""

    __slots__ = ()


def is_public(address: str) -> bool:
    """Whether an IP address in text form is one of the public internet; False for anything that is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in V4_NOT_PUBLIC)
    if parsed.scope_id is not None or parsed not in V6_GLOBAL_UNICAST:
        return False
    return not any(parsed in network for network in V6_NOT_PUBLIC)


def guarded_socket(addr_info: AddressInfo) -> socket.socket:
    """A socket for one (family, type, proto, canonname, sockaddr). Raises NotPublic before there is one."""
    family, kind, protocol, _, sockaddr = addr_info
    if type(sockaddr[0]) is not Vouched and not is_public(sockaddr[0]):
        raise NotPublic(f"{sockaddr[0]} is not a public address")
    return socket.socket(family=family, type=kind, proto=protocol)


class Resolver:
    """Names to public addresses; exactly the names of `local_hosts` to the addresses that the settings give them.

    `reached`: when it last found one. Raises ConfigError for a local host without an IP address.
    """

    def __init__(self, settings: PagesSettings) -> None:
        self.reached = Reached()
        self.local = {name: local_address(name, address) for name, address in settings.local_hosts.items()}
        self.threads = ThreadPoolExecutor(min(RESOLVING_THREADS, settings.connections), "resolve")
        self.known: dict[str, tuple[float, list[AddressInfo]]] = {}

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Addresses to connect to. Raises OSError (no such name) and NotPublic (no public address among them)."""
        if host in self.local:
            return [info_of(*self.local[host])]
        if is_literal(host):
            return [info_of(host.strip("[]"), port)]
        now = asyncio.get_running_loop().time()
        until, found = self.known.get(host, (0.0, []))
        if now >= until:
            found = await self.look_up(host, port)
            self.known.pop(host, None)
            self.known[host] = (now + DNS_CACHE_S, found)
            if len(self.known) > DNS_CACHE_NAMES:
                del self.known[next(iter(self.known))]
        return [(family, kind, protocol, name, (at[0], port, *at[2:])) for family, kind, protocol, name, at in found]

    async def look_up(self, host: str, port: int) -> list[AddressInfo]:
        """What name servers say. Raises as `addresses` does."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self.threads, socket.getaddrinfo, host, port, socket.AF_UNSPEC, socket.SOCK_STREAM
            )
        except UnicodeError as error:  # a label that IDNA refuses
            raise socket.gaierror(socket.EAI_NONAME, f"{host}: {error}") from None
        self.reached.named_at = loop.time()
        public: list[AddressInfo] = [info for info in found if is_public(str(info[4][0]))]
        if not public:
            raise NotPublic(f"{host} resolves to {', '.join(str(info[4][0]) for info in found)}: not public")
        return public

    def asks_for(self, host: str) -> bool:
        """Whether name servers are asked for a host."""
        return host not in self.local and not is_literal(host)

    def close(self) -> None:
        """Let go of the threads; look-ups under way are not waited for."""
        self.threads.shutdown(wait=False, cancel_futures=True)


async def connected(resolver: Resolver, host: str, port: int) -> socket.socket:
    """A socket connected to one of a host's addresses. Raises OSError and NotPublic."""
    return await aiohappyeyeballs.start_connection(
        await resolver.addresses(host, port), happy_eyeballs_delay=NEXT_ADDRESS_S, socket_factory=guarded_socket
    )


def is_literal(host: str) -> bool:
    """Whether a host is an IP address itself."""
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def local_address(name: str, address: str) -> tuple[Vouched, int]:
    """The vouched address and the port of one "address:port". Raises ConfigError unless the address is an IP."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(
            f'pages.local_hosts.{name}: expected an IP address and a port, as "127.0.0.1:8000", got {address!r}'
        ) from None
    return Vouched(host), int(port)


def info_of(address: str, port: int) -> AddressInfo:
    """One address in the form of getaddrinfo; it keeps its type."""
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


async def reaches_any(settings: PagesSettings, urls: Iterable[str]) -> bool:
    """Whether a connection to the host of any of these addresses opens within a deadline; all are tried at once."""
    tries = [asyncio.create_task(reaches(settings, url)) for url in urls]
    try:
        for attempt in asyncio.as_completed(tries):
            if await attempt:
                return True
        return False
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def reaches(settings: PagesSettings, url: str) -> bool:
    """Whether a connection to the host of an address opens within a deadline. Nothing is asked over it."""
    found = urlsplit(url)
    resolver = Resolver(settings)
    try:
        async with asyncio.timeout(settings.deadline_s):
            port = found.port or (443 if found.scheme == "https" else 80)
            (await connected(resolver, found.hostname or "", port)).close()
            return True
    except OSError:  # TimeoutError and NotPublic are of its kind
        return False
    finally:
        resolver.close()

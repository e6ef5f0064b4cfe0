import asyncio
import ipaddress
import socket

import pytest

from pipeline.config import PagesSettings
from pipeline.fetch.exchange import Session, Wanted
from pipeline.fetch.guard import V4_NOT_PUBLIC, V6_NOT_PUBLIC, NotPublic, Resolver, guarded_socket, is_public
from pipeline.shards.outcomes import ConfigError
from tests.fetch.local_web import local_web, reply

NOT_PUBLIC = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.1.2.3 168.63.129.16
169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1 192.88.99.1
192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 233.252.0.1 239.255.255.255
240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::7f00:1 64:ff9b::808:808
64:ff9b:1::a00:1 100::1 100:0:0:1::1 2001::1 2001:0:53aa:64c:0:fbff:ad00:1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1
2002:7f00:1:: 2002:808:808::1 3ffe::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fd12:3456::1 fe80::1 fe80::1%eth0 febf::1
fec0::1 feff::1 ff02::1 ff0e::1 4000::1 2606:4700::1%eth0
""".split()  # noqa: SIM905
PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0
168.63.129.15 168.63.129.17 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255
192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
93.184.215.14 151.101.1.140 2001:200::1 2001:4860:4860::8888 2003::1 2600::1 2606:4700:4700::1111 2620:0:862:ed1a::1
2a00:1450:4001:800::200e 3ffd::1 3fff:1000::1
""".split()  # noqa: SIM905


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_special_purpose_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_next_to_special_ones_pass(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "８.8.8.8", "[::1]", "8.8.8.8:80"]
)
def test_what_is_no_address_is_not_public(text):
    assert not is_public(text)


@pytest.mark.parametrize("network", [*V4_NOT_PUBLIC, *V6_NOT_PUBLIC], ids=str)
def test_a_network_is_refused_from_its_first_to_its_last_address(network):
    assert not is_public(str(network[0]))
    assert not is_public(str(network[-1]))


def test_all_that_python_calls_private_is_refused_except_what_the_registry_calls_reachable():
    reachable = {"192.0.0.9/32", "192.0.0.10/32"}
    for network in ipaddress._IPv4Constants._private_networks + ipaddress._IPv6Constants._private_networks:
        if str(network) not in reachable:
            assert not is_public(str(network[0])), network
            assert not is_public(str(network[-1])), network


def test_no_socket_is_made_for_an_address_that_is_not_public():
    with pytest.raises(NotPublic, match=r"10\.0\.0\.1"):
        guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 80)))


async def get(settings, url):
    async with Session(settings, ()) as session:
        return (await session.get(url, lambda head: Wanted(1_000))).body.decode()


def test_a_local_host_is_reached_by_its_exact_name():
    async def run():
        async with local_web({"a.test/": reply(b"hello")}) as web:
            return await get(web.settings(), "http://a.test/")

    assert asyncio.run(run()) == "hello"


def refused(url, settings=None, found=None, monkeypatch=None):
    """Ask for `url` ({port}: the trap's); the trap's connections, and what was raised."""

    async def run():
        async with local_web({}) as trap:
            trapped = settings or trap.settings("a.test")
            if found:
                monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(2, 1, 6, "", (found, trap.port))])
            with pytest.raises(OSError) as raised:
                await get(trapped, url.format(port=trap.port))
            return trap.connections, raised.value

    return asyncio.run(run())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
def test_the_address_of_a_local_host_is_not_reached_in_another_way(host):
    connections, _ = refused(f"http://{host}:{{port}}/")
    assert connections == 0


def test_another_name_with_the_same_address_is_refused(monkeypatch):
    connections, error = refused("http://other.test:{port}/", found="127.0.0.1", monkeypatch=monkeypatch)
    assert connections == 0
    assert isinstance(error, NotPublic)


def test_a_name_that_changes_its_address_after_the_look_up_is_refused(monkeypatch):
    answers = iter(["93.184.215.14", "127.0.0.1"])
    monkeypatch.setattr("pipeline.fetch.guard.is_public", lambda address: is_public(next(answers, address)))
    connections, _ = refused("http://rebind.test:{port}/", found="127.0.0.1", monkeypatch=monkeypatch)
    assert connections == 0


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async def run():
        async with local_web({}) as proxy, local_web({"a.test/": reply(b"direct")}) as web:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            return await get(web.settings(), "http://a.test/"), proxy.connections

    assert asyncio.run(run()) == ("direct", 0)


def test_a_local_host_needs_an_address():
    with pytest.raises(ConfigError, match=r"pages\.local_hosts\.a\.test"):
        Resolver(PagesSettings(local_hosts={"a.test": "localhost:80"}))

"""Measures the crawler against a local web of 500 hosts: pages a second against the bound, the gap, and memory.

    python tests/benchmarks/bench_crawler.py [PAGES]

The web is a process of its own, which times every request; host n takes 50, 100, 200, 500 or 1,000 ms for a page.

throughput  PAGES (5,000) links spread over the hosts, with the default gap of 1 s. The bound: the slowest host cannot
            be done before the sum of its gaps and latencies, its robots.txt included, nor can 200 connections be.
fairness    10,000 links, 60 % of them of one host, gap 5 ms: the shortest gap that the server saw, from the end of an
            answer to the next request, and when the links of the other hosts had ended.
memory      peak RSS of crawls of 1,000 to 100,000 links, a process each. The first 1,000 are pages; the others lead to
            5,000 hosts that cannot be had, so that it ends soon and every link is queued, visited and reported.

It prints tables and asserts nothing. Wall time needs a machine with nothing else to do; CPU time a page needs less.
"""

import asyncio
import itertools
import json
import multiprocessing
import resource
import subprocess
import sys
import time

from pipeline.config import PagesSettings
from pipeline.fetch.continuations import Continuation, Link
from pipeline.fetch.crawler import crawl
from pipeline.fetch.hosts import Circumstances
from tests.fetch.crawls import Job

HOSTS = 500
LATENCIES_S = (0.05, 0.1, 0.2, 0.5, 1.0)
PAGE = b"<!doctype html><title>t</title><p>" + b"Some words of a page. " * 400
SOFTWARE = "webtext/0.0"


def latency_of(host):
    return LATENCIES_S[int(host.removeprefix("h").partition(".")[0]) % len(LATENCIES_S)]


def serve(port, asked, times, latency):
    """Answer every host, robots.txt with 404, until `asked`; then (host, came, answered) go to `times`."""

    async def answer(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                came = time.monotonic()
                lines = head.decode().split("\r\n")
                host = next(line[6:] for line in lines if line.lower().startswith("host: ")).partition(":")[0]
                if latency:
                    await asyncio.sleep(latency_of(host) if latency is True else latency)
                found = " /robots.txt " not in lines[0]
                status, body = ("200 OK", PAGE + lines[0].encode()) if found else ("404 Not Found", b"")
                seen.append((host, came, time.monotonic()))
                writer.write(f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n".encode())
                writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def run():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1_000)
        port.put(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, asked.wait)
        times.put(list(seen))

    seen = []
    asyncio.run(run())


class Served:
    """The local web while the `with` block lasts; afterwards `times`. `latency`: seconds, or that of each host."""

    def __init__(self, latency):
        start = multiprocessing.get_context("spawn")
        self.port_queue, self.times_queue, self.asked = start.Queue(), start.Queue(), start.Event()
        shared = self.port_queue, self.asked, self.times_queue, latency
        self.process = start.Process(target=serve, args=shared, daemon=True)
        self.times = []

    def __enter__(self):
        self.process.start()
        self.port = self.port_queue.get(timeout=60)
        return self

    def __exit__(self, *_):
        self.asked.set()
        self.times = self.times_queue.get(timeout=60)
        self.process.kill()
        self.process.join()


def settings_for(port, **values):
    local = {f"h{number}.test": f"127.0.0.1:{port}" for number in range(HOSTS)}
    return PagesSettings(contact="mailto:a@b.test", local_hosts=local, **values)


def crawled(links, settings):
    """Seconds that a crawl took, how the links ended, and when: seconds since its start by link."""
    ends, when = {}, {}

    def ended(link, end):
        outcome = str(end.outcome)
        ends[outcome] = ends.get(outcome, 0) + 1
        when[link.doc_id] = time.monotonic() - began

    began = time.monotonic()
    asyncio.run(crawl(Job(links, told=ended), settings, SOFTWARE, Circumstances(time.time)))
    return time.monotonic() - began, ends, when


def link(number, host):
    return Link(str(number), Continuation(f"http://{host}/{number}", (), 30.0))


def by_host(times):
    found = {}
    for host, came, answered in times:
        found.setdefault(host, []).append((came, answered))
    return {host: sorted(one) for host, one in found.items()}


def gaps_of(times):
    """The times from the end of an answer to the next request of the same host."""
    pairs = [pair for one in by_host(times).values() for pair in itertools.pairwise(one)]
    return [came - answered for (_, answered), (came, _) in pairs]


def throughput(pages, gap_s=1.0, connections=200):
    links = [link(number, f"h{number % HOSTS}.test") for number in range(pages)]
    with Served(latency=True) as web:
        cpu = time.process_time()
        took, ends, _ = crawled(links, settings_for(web.port, gap_s=gap_s, connections=connections))
        cpu = time.process_time() - cpu
    asked = {f"h{number}.test": 1 + pages // HOSTS + (number < pages % HOSTS) for number in range(HOSTS)}
    slowest = max(count * (gap_s + latency_of(host)) for host, count in asked.items())
    full = sum(count * latency_of(host) for host, count in asked.items()) / connections
    bound = max(slowest, full)
    print("throughput")
    print(f"  {pages:,} pages, {HOSTS} hosts, gap {gap_s} s, {connections} connections: {ends}")
    print(f"  bound {pages / bound:8.1f} pages/s ({bound:.1f} s)")
    print(f"  found {pages / took:8.1f} pages/s ({took:.1f} s): {bound / took:.0%} of the bound")
    print(f"  CPU   {cpu / pages * 1000:.2f} ms a page, so at most {pages / cpu:,.0f} pages/s on this core")
    print(f"  shortest gap {min(gaps_of(web.times)) * 1000:.1f} ms of {gap_s * 1000:.0f} ms\n")


def fairness(pages=10_000, gap_s=0.005):
    hosts = ["h0.test" if number % 10 < 6 else f"h{1 + number % (HOSTS - 1)}.test" for number in range(pages)]
    links = [link(number, host) for number, host in enumerate(hosts)]
    with Served(latency=False) as web:
        took, ends, when = crawled(links, settings_for(web.port, gap_s=gap_s))
    others = sorted(when[str(number)] for number, host in enumerate(hosts) if host != "h0.test")
    gaps = gaps_of(web.times)
    print("fairness")
    print(f"  {pages:,} pages, {hosts.count('h0.test') / pages:.0%} of one host, gap {gap_s * 1000:.0f} ms: {ends}")
    print(f"  {len(web.times):,} requests; gaps shorter than asked: {sum(gap < gap_s for gap in gaps)}", end="")
    print(f", the shortest {min(gaps) * 1000:.2f} ms")
    print(
        f"  the large host took {took:.1f} s; half of the other links had ended after {others[len(others) // 2]:.1f} s",
        end="",
    )
    print(f", all after {others[-1]:.1f} s\n")


def remember(count, port):
    """Peak RSS in bytes of this process after a crawl of so many links, the first 1,000 of them pages."""
    settings = settings_for(int(port), gap_s=0.0, retries=0)
    base = peak_rss()
    hosts = [f"h{number % HOSTS}.test" if number < 1_000 else nowhere(number) for number in range(count)]
    links = [link(number, host) for number, host in enumerate(hosts)]
    took, ends, _ = crawled(links, settings)
    print(json.dumps({"base": base, "peak": peak_rss(), "took": took, "ends": ends}))


def nowhere(number):
    """One of 5,000 hosts that the guard lets nobody connect."""
    return f"10.0.{number % 5_000 // 250}.{number % 250}"


def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory():
    found = {}
    with Served(latency=False) as web:
        for count in (1_000, 10_000, 100_000):
            command = [sys.executable, __file__, "--remember", str(count), str(web.port)]
            done = subprocess.run(command, capture_output=True, check=True, text=True)
            found[count] = json.loads(done.stdout)
    print("memory")
    for count, one in found.items():
        print(f"  {count:7,} links: peak {one['peak'] / 1e6:6.1f} MB, before {one['base'] / 1e6:.1f} MB", end="")
        print(f"; {one['took']:.1f} s, {one['ends']}")
    slope = (found[100_000]["peak"] - found[1_000]["peak"]) / 99_000
    print(f"  slope {slope:,.0f} bytes a link")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--remember"]:
        remember(int(sys.argv[2]), sys.argv[3])
    else:
        throughput(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000)
        fairness()
        memory()

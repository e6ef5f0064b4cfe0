"""A crawl over many shards at once: nobody can tell from its segments, but by the time that it took."""

import asyncio
import itertools
import json
import time
from collections import Counter, defaultdict

import pytest

from pipeline.config import PagesSettings
from pipeline.fetch import queues, window, writing
from pipeline.fetch.continuations import Memory, Pace, host_asked, new_fetch
from pipeline.fetch.queues import Waits
from pipeline.fetch.segments import Group, Owners
from pipeline.fetch.shelf import Shelf, Waiting
from pipeline.fetch.window import Round, Source, Window, crawl_round, portions_of
from pipeline.fetch.writing import Writing
from pipeline.shards.outcomes import StorageError
from pipeline.urls import shard_of
from tests.fetch.local_web import SOFTWARE, local_web, redirect, reply

SHARDS = 4
OWNERS = Owners(SHARDS, {})
ALL = Group(0, range(SHARDS))


class Cut(BaseException):
    """An interrupt."""


def named(shard, number=0):
    """The number-th host of a shard."""
    names = (f"h{n}.test" for n in itertools.count())
    return next(itertools.islice((one for one in names if shard_of(one, "", SHARDS, {}) == shard), number, None))


def shelf(folder, shard):
    return Shelf(folder / "pages", f"{shard:05d}-of-{SHARDS:05d}")


def sources_of(folder, addresses, settings, parts=1):
    """The queues of the shards of these addresses, each host's in the order given."""
    hosts, waiting, seen = Counter(one.partition("/")[0] for one in addresses), defaultdict(list), Counter()
    for address in addresses:
        host = address.partition("/")[0]
        one = Waiting(address, host, 0, new_fetch(f"http://{address}", settings), seen[host] / hosts[host])
        seen[host] += 1
        waiting[OWNERS.owner(host, address)].append(one)
    found = {}
    for shard in range(SHARDS):
        path = folder / f"queue-{shard}.parquet"
        waits = queues.waits_of(waiting[shard], [], OWNERS, settings, 0.0, parts)
        queues.write(path, waiting[shard], waits)
        found[shard] = Source(shelf(folder, shard), path, waits)
    return found


def crawled(folder, replies, addresses, before=lambda settings: None, parts=1, **values):
    """Crawl a round over all shards; what every shard has committed, and the web."""
    addresses, answers = list(addresses), dict(replies)
    folder.mkdir(exist_ok=True)

    async def run():
        async with local_web(answers) as web:
            settings = web.settings(**values)
            before(settings)
            sources = sources_of(folder, addresses, settings, parts)
            told = Round(OWNERS, ALL, began=time.time())
            await asyncio.to_thread(crawl_round, settings, SOFTWARE, told, sources)
            return web

    web = asyncio.run(asyncio.wait_for(run(), 40))
    return {shard: shelf(folder, shard).rows() for shard in range(SHARDS)}, web


def said(rows):
    """What rows say but for where the bytes lie and how much time is left."""
    columns = ("doc_id", "step", "outcome", "final_url", "via", "status", "sha256", "host")
    found = {}
    for shard, some in rows.items():
        left = [json.loads(row["errand"] or "{}") for row in some]
        onward = [[one.get(name) for name in ("target", "asked", "robots", "permit")] for one in left]
        found[shard] = sorted(
            str([*(row[name] for name in columns), one]) for row, one in zip(some, onward, strict=True)
        )
    return found


def web_of_all_shards():
    """Pages of three hosts a shard, and redirects from each shard to the next, of pages and of robots.txt."""
    replies = {}
    for shard in range(SHARDS):
        name, onward = named(shard), named((shard + 1) % SHARDS)
        replies |= {f"{name}/{n}": reply(f"<p>{name}/{n}</p>".encode()) for n in range(7)}
        replies |= {f"{named(shard, 1)}/{n}": reply(f"<p>{n} of {name}</p>".encode()) for n in range(2)}
        replies[f"{named(shard, 2)}/robots.txt"] = redirect(f"http://{onward}/robots.txt")
        replies[f"{named(shard, 2)}/page"] = reply(f"<p>{name}</p>".encode())
        replies[f"{name}/moved"] = redirect(f"http://{onward}/moved-too")
        replies[f"{onward}/moved-too"] = redirect(f"http://{named((shard + 2) % SHARDS)}/end{shard}")
        replies[f"{named((shard + 2) % SHARDS)}/end{shard}"] = reply(f"<p>end {shard}</p>".encode())
    asked = [one for one in replies if not one.endswith(("robots.txt", "moved-too")) and "/end" not in one]
    return replies, asked


def cut_at(monkeypatch, count):
    """Interrupt what writes the count-th row."""
    real, visits = writing.Writing.row, itertools.count(1)

    def row(self, one, link, end):
        if next(visits) == count:
            raise Cut
        return real(self, one, link, end)

    monkeypatch.setattr(writing.Writing, "row", row)


@pytest.mark.parametrize("values", [{"window_links": 1}, {"window_links": 9, "segment_links": 2}], ids=["one", "nine"])
def test_what_is_committed_does_not_depend_on_how_much_of_it_was_in_the_window(tmp_path, values):
    replies, asked = web_of_all_shards()
    whole, _ = crawled(tmp_path / "whole", replies, asked)
    pieces, web = crawled(tmp_path / "pieces", replies, asked, parts=3, **values)
    assert said(pieces) == said(whole)
    assert sum(row["errand"] == "" for rows in whole.values() for row in rows) == len(asked)
    assert set(Counter(web.requests).values()) == {1}


def test_no_more_links_are_in_the_window_than_it_may_hold_nor_shards(tmp_path, monkeypatch):
    replies, asked = web_of_all_shards()
    real, held = Window.entered, []

    def entered(self, shard, one):
        link = real(self, shard, one)
        held.append((self.links, len(self.open)))
        return link

    monkeypatch.setattr(Window, "entered", entered)
    monkeypatch.setattr(window, "OPEN_SHARDS", 2)
    rows, _ = crawled(tmp_path, replies, asked, parts=4, window_links=12)
    assert sum(row["errand"] == "" for found in rows.values() for row in found) == len(asked)
    assert 6 < max(links for links, _ in held) <= 12
    assert max(shards for _, shards in held) == 2


def test_a_shard_is_committed_when_its_links_have_ended_while_others_go_on(tmp_path):
    replies = {f"{named(0)}/{n}": reply() for n in range(6)} | {f"{named(1)}/0": reply()}
    seen = []

    async def last(writer):
        while not shelf(tmp_path, 1).numbers():
            await asyncio.sleep(0)
        seen.extend(shelf(tmp_path, shard).numbers() for shard in (0, 1))
        writer.write(reply())

    replies[f"{named(0)}/5"] = last
    crawled(tmp_path, replies, list(replies), gap_s=0.02)
    assert [len(one) for one in seen] == [0, 1]


def test_the_gap_holds_for_hosts_that_come_back_into_the_window_and_for_those_that_others_lead_to(tmp_path):
    replies, asked = web_of_all_shards()
    gap_s = 0.03
    _, web = crawled(tmp_path, replies, asked, parts=3, window_links=8, gap_s=gap_s)
    times = defaultdict(list)
    for host, came, answered in web.times:
        times[host].append((came, answered))
    assert len(times) == 3 * SHARDS
    for one in times.values():
        assert all(came - answered >= gap_s for (_, answered), (came, _) in itertools.pairwise(sorted(one)))


def test_a_crawl_that_is_cut_at_any_time_has_got_equally_far_with_all_hosts(tmp_path, monkeypatch):
    counts = {named(shard, number): 2 + 4 * number for shard in range(SHARDS) for number in range(4)}
    asked = [f"{host}/{n}" for host, count in counts.items() for n in range(count)]
    cut_at(monkeypatch, len(asked) // 2)
    with pytest.raises(Cut):
        crawled(tmp_path, dict.fromkeys(asked, reply()), asked, parts=8, window_links=30)
    done = Counter(row["doc_id"].partition("/")[0] for shard in range(SHARDS) for row in shelf(tmp_path, shard).rows())
    assert sum(done.values()) == len(asked) // 2 - 1
    assert set(done) == set(counts)
    assert all(0.2 <= done[host] / count <= 0.85 for host, count in counts.items() if count >= 6)


def test_hosts_that_rest_long_make_room_for_the_links_of_others(tmp_path):
    rests, fine = [f"{named(0)}/{n}" for n in range(5)], [f"{named(1)}/{n}" for n in range(5)]

    def resting(settings):
        now = time.time()
        known = Memory([], [Pace(named(0), 0.0, now + 900.0, 2, now, now + 900.0)])
        Writing(settings, SOFTWARE, shelf(tmp_path, 0), {}, known).commit()

    rows, web = crawled(tmp_path, dict.fromkeys(rests + fine, reply()), rests + fine, resting, window_links=5)
    assert [row["outcome"] for row in rows[1]] == ["kept"] * 5
    assert rows[0] == []
    assert {host for host, _ in web.requests} == {named(1)}


def test_what_is_handed_on_is_taken_up_in_the_same_round_also_by_a_shard_that_was_closed(tmp_path):
    a, b, c = named(0), named(1), named(2)
    replies = {f"{a}/1": reply(), f"{b}/own": reply(), f"{a}/moved": redirect(f"http://{b}/x")}
    replies |= {f"{b}/x": redirect(f"http://{c}/y"), f"{c}/y": reply(b"<p>the end</p>")}
    rows, _ = crawled(tmp_path, replies, [f"{a}/1", f"{a}/moved", f"{b}/own"], gap_s=0.02)
    assert [(row["doc_id"], row["step"], row["outcome"]) for row in rows[2]] == [(f"{a}/moved", 2, "kept")]
    assert len(shelf(tmp_path, 1).numbers()) == 2  # it was closed when its own link had ended


def test_an_interrupt_commits_the_segments_of_all_shards_also_of_those_that_closed(tmp_path, monkeypatch):
    asked = [f"{named(shard)}/{n}" for shard in range(SHARDS) for n in range(2 + 2 * shard)]
    cut_at(monkeypatch, len(asked))
    with pytest.raises(Cut):
        crawled(tmp_path, dict.fromkeys(asked, reply()), asked, gap_s=0.01)
    assert sum(len(shelf(tmp_path, shard).rows()) for shard in range(SHARDS)) == len(asked) - 1
    assert not list(tmp_path.rglob(".*part"))


def test_a_storage_that_refuses_a_closed_shard_ends_the_crawl(tmp_path, monkeypatch):
    real = Writing.commit

    def commit(self):
        if self.shelf.name.startswith("00001"):
            raise StorageError("no room")
        real(self)

    monkeypatch.setattr(Writing, "commit", commit)
    asked = [f"{named(shard)}/{n}" for shard in range(SHARDS) for n in range(2)]
    with pytest.raises(StorageError, match="no room"):
        crawled(tmp_path, dict.fromkeys(asked, reply()), asked)


def test_portions_come_by_their_place_and_of_one_place_the_shard_of_the_longest_host_first(tmp_path):
    def source(longest, *portions):
        return Source(shelf(tmp_path, 0), tmp_path, Waits("o", 0, 0, 0, None, {}, portions, longest))

    found = portions_of({0: source(3, 5, 0, 5, 1), 1: source(9, 7, 2), 2: source(4)})
    assert [(shard, low, links) for shard, low, _, links in reversed(found)] == [
        (1, 0.0, 7), (0, 0.0, 5), (1, 0.5, 2), (0, 0.5, 5), (0, 0.75, 1),
    ]  # fmt: skip


def test_the_queue_gives_each_portion_its_links_in_the_order_of_places(tmp_path):
    addresses = [f"{named(0)}/{n}" for n in range(10)] + [f"{named(0, 1)}/{n}" for n in range(3)]
    source = sources_of(tmp_path, addresses, PagesSettings(), parts=4)[0]
    parts = [queues.read(source.queue, n / 4, (n + 1) / 4) for n in range(4)]
    assert [len(one) for one in parts] == list(source.waits.portions)
    assert sorted(one.doc_id for part in parts for one in part) == sorted(addresses)
    places = [one.place for part in parts for one in part]
    assert places == sorted(places)
    assert source.waits.longest == 10
    assert {host_asked(one.continuation) for one in parts[0]} == {named(0), named(0, 1)}

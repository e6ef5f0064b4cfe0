"""Builds that everything happens to end with the pages of one that nothing happened to."""

import itertools

import pytest

from pipeline import pages
from pipeline.fetch import connections, guard, writing
from pipeline.shards.outcomes import OutageError
from pipeline.shards.runner import PlainRun
from tests.test_pages import BODY, crawled, local_web, redirect, rows_of, settings_of, write_links

HOSTS = "abcdefgh"
PATHS = [f"/{n}" for n in range(4)]
SAID = ("url", "final_url", "status", "content_type", "sha256", "opt_outs", "outcome")


class Killed(BaseException):
    """SIGKILL, as far as a test can tell: nothing is tidied up."""


class Moody(dict):
    """The web's replies; while `busy` it says so, to whatever it is asked first."""

    busy = 0

    def get(self, key, default=None):
        if self.busy > 0 and not key.endswith("robots.txt"):
            self.busy -= 1
            return 429, {"Retry-After": "0"}, b""
        return super().get(key, default)


def links_of():
    return [crawled(path, host=host) for host in HOSTS for path in PATHS]


def replies():
    found = {f"{host}.test/{n}": (200, {}, BODY + host.encode() + b"%d" % n) for host in HOSTS for n in range(4)}
    found |= {"a.test/1": redirect("http://b.test/away"), "b.test/away": (200, {}, BODY + b"away")}
    found |= {"b.test/2": redirect("http://c.test/x"), "c.test/x": redirect("http://a.test/y")}
    found |= {"a.test/y": (200, {}, BODY + b"y"), "c.test/3": (404, {}, b""), "d.test/3": (500, {}, b"")}
    found |= {"d.test/robots.txt": (200, {}, b"User-agent: *\nDisallow: /2\n")}
    return found


def said(work):
    return sorted(tuple(str(row[name]) for name in SAID) for row in rows_of(work))


def build(work, values):
    return pages.stage(settings_of(**values), work, PlainRun())


def killed(work, values, web, patched):
    """Killed between a segment's WARC file and its table."""
    real, commits = writing.schemas.write_parquet, itertools.count(1)

    def dies(file, tables, schema):
        if "segments" in str(file.file.name) and next(commits) == 2:
            raise Killed
        return real(file, tables, schema)

    patched.setattr(writing.schemas, "write_parquet", dies)
    patched.setattr(writing.Writing, "__exit__", lambda one, *error: one.open.__exit__(*error))
    with pytest.raises(Killed):
        build(work, values)


def interrupted(work, values, web, patched):
    """Ctrl-C while the fourth visit is written."""
    real, visits = writing.Writing.row, itertools.count(1)

    def row(self, one, link, end):
        if next(visits) == 4:
            raise KeyboardInterrupt
        return real(self, one, link, end)

    patched.setattr(writing.Writing, "row", row)
    with pytest.raises(KeyboardInterrupt):
        build(work, values)


def starved(work, values, web, patched):
    """No connection opens: while one that was open still answers, it is the other hosts that are away."""

    async def connected(resolver, host, port):
        raise OSError(101, "Network is unreachable")

    for module in (guard, connections):
        patched.setattr(module, "connected", connected)
    with pytest.raises(OutageError):
        build(work, {**values, "patience_gaps": 100})


def throttled(work, values, web, patched):
    """Every host says for a while that it is asked too much."""
    web.replies.busy = 12
    build(work, values)


@pytest.mark.failure(
    "a crawl is killed, interrupted, without network and throttled in turn",
    "it ends with the pages of one that nothing happened to",
    "run the same command again each time",
)
@pytest.mark.parametrize(
    "events", [(killed, interrupted, starved, throttled), (starved, killed, interrupted, throttled)], ids=["1", "2"]
)
def test_a_crawl_that_was_disturbed_ends_with_the_pages_of_one_that_was_not(tmp_path, events):
    with local_web(hosts=HOSTS, gap_s=0.002, segment_links=3, retries=0, patience_gaps=5_000) as (values, web):
        web.replies = Moody(replies())
        for folder in ("calm", "disturbed"):
            (tmp_path / folder).mkdir()
            write_links(tmp_path / folder, links_of())
        calm = build(tmp_path / "calm", values)
        for event in events:
            with pytest.MonkeyPatch.context() as patched:
                event(tmp_path / "disturbed", values, web, patched)
        manifest = build(tmp_path / "disturbed", values)
    assert manifest.books == calm.books
    assert said(tmp_path / "disturbed") == said(tmp_path / "calm")
    assert manifest.books["pages"].outcomes == {"kept": 29, "robots_disallowed": 1, "not_found": 1, "server_error": 1}

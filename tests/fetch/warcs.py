"""WARC files written byte by byte, and what the links of a working directory find in them."""

import gzip
import hashlib

from pipeline.config import PagesSettings
from pipeline.fetch import originals, pointers
from pipeline.fetch.lookup import Held, Wanted, lookup
from pipeline.shards.locations import pointed_at
from pipeline.shards.runner import PlainRun
from pipeline.urls import canonical_url, doc_id, host_of

SHARDS = 3
POST = 1_400_000_000  # 13 May 2014, 16:53:20 UTC


def record(block, uri, kind="response", date="2014-05-01T00:00:00Z", **more):
    """One record, not compressed; `more` are further fields of WARC, a list for one that is repeated."""
    lines = ["WARC/1.1", f"WARC-Type: {kind}", f"WARC-Target-URI: {uri}"]
    lines += [f"WARC-Date: {date}"] if date else []
    for name, values in more.items():
        spelling = f"WARC-{name.replace('_', '-')}"
        lines += [f"{spelling}: {value}" for value in (values if isinstance(values, list) else [values])]
    role = "request" if kind == "request" else "response"
    lines += [f"Content-Type: application/http; msgtype={role}", f"Content-Length: {len(block)}", "", ""]
    return "\r\n".join(lines).encode() + block + b"\r\n\r\n"


def answer(body=b"<p>some words", status="200 OK", *headers):
    """A response; text/html unless its headers name another type."""
    typed = any(name == "Content-Type" for name, _ in headers)
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    lines += [] if typed else ["Content-Type: text/html"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def moved(location, body=b"", status="301 Moved"):
    return answer(body, status, ("Location", location))


def sha1(body):
    return f"sha1:{hashlib.sha1(body).hexdigest()}"


def write(folder, *records, name="1.warc.gz"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"".join(gzip.compress(one, mtime=0) for one in records))


def look(work, *urls, posted=POST, splits=None, **values):
    """URL -> row of POINTERS or None, through all WARC files of `work`; and the notes on them."""
    settings = PagesSettings(warc=("*.warc.gz",), **values)
    captures, notes = pointers.collect(settings, work, PlainRun(), SHARDS, splits or {})
    held = Held(captures, originals.collect(captures, PlainRun()), splits or {})
    docs = {url: doc_id(canonical_url(url)) for url in urls}
    wanted = [Wanted(doc, host_of(canonical_url(url)), posted) for url, doc in docs.items()]
    rows = lookup(held, wanted, settings)
    return {url: rows.get(doc) for url, doc in docs.items()}, notes


def ends(work, *urls, **values):
    """URL -> (outcome, final address) or None."""
    return {url: brief(row) for url, row in look(work, *urls, **values)[0].items()}


def brief(row):
    return row and (row["outcome"], row["final_url"])


def body_of(work, row):
    """The body as it lies where a row of POINTERS points."""
    with pointed_at(row["warc"], work / "pages").open("rb") as file:
        file.seek(row["offset"])
        data = gzip.decompress(file.read(row["length"]))
    return data.partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n\r\n")

"""What a user brings: a dump and WARC files, on ordinary pages of the demo's web, so that a build needs no crawl."""

import io
import json

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.demo import site

SETTINGS = """
[corpus]
min_words = 50
[tokenizer]
vocab_size = 600
[tokens]
val_share = 0.2
[train]
preset = "nano"
block = 64
batch = 2
accumulate = 1
steps = 4
warmup_steps = 1
eval_every = 2
eval_batches = 1
checkpoint_every = 2
dtype = "float32"
device = "cpu"
"""


def write_dump(path, pages, copies=1):
    """A dump of one submission a page; `copies` of each page have addresses of their own."""
    with path.open("w") as file:
        for number, url in enumerate(addresses(pages, copies)):
            row = {"id": f"a{number}", "url": url, "score": 5, "created_utc": 1_400_000_000, "subreddit": "books"}
            file.write(json.dumps({**row, "over_18": False, "is_self": False}) + "\n")


def write_warc(path, pages, copies=1):
    """A WARC file of the same pages."""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number, url in enumerate(addresses(pages, copies)):
            body = site.render(pages[number // copies]).encode()
            head = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=head))


def addresses(pages, copies):
    """The address of every copy of every page."""
    for page in pages:
        yield from (f"{page.url}{'&' if '?' in page.url else '?'}copy={n}" if n else page.url for n in range(copies))


def write_both(folder, pages=24):
    """`dump.ndjson` and `pages.warc.gz` of so many pages in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = site.ordinary_pages()[:pages]
    write_dump(folder / "dump.ndjson", chosen)
    write_warc(folder / "pages.warc.gz", chosen)
    return chosen

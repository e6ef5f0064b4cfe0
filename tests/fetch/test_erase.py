import gzip
import io

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.fetch.erase import blank
from pipeline.shards.outcomes import IntegrityError

DATE = "2026-01-31T12:00:00Z"


@given(st.one_of(st.integers(300, 1_000), st.integers(65_000, 67_000), st.integers(130_500, 132_000)))
def test_the_record_has_the_asked_length_and_is_one_gzip_member(length):
    data = blank(length, "a.warc.gz:5", DATE)
    assert len(data) == length
    text = gzip.decompress(data)
    head, _, body = text.partition(b"\r\n\r\n")
    assert b"WARC-Type: metadata" in head
    assert int(head.rpartition(b"Content-Length: ")[2]) == len(body) - 4
    assert body.strip() == b"removed by request"[: len(body) - 4]


def test_too_few_bytes_were_never_a_record():
    with pytest.raises(IntegrityError, match="100 bytes hold no WARC record"):
        blank(100, "a.warc.gz:5", DATE)


def test_other_records_are_read_as_before_by_every_reader():
    file, places = io.BytesIO(), []
    writer = WARCWriter(file, gzip=True)
    for number in range(3):
        start = file.tell()
        head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        body = io.BytesIO(f"<p>secret {number}</p>".encode())
        writer.write_record(
            writer.create_warc_record(f"https://{number}.example/", "response", body, http_headers=head)
        )
        places.append((start, file.tell() - start))
    data = bytearray(file.getvalue())
    start, length = places[1]
    data[start : start + length] = blank(length, "x:1", DATE)
    found = [(one.rec_type, one.rec_headers["WARC-Target-URI"], one.content_stream().read())
             for one in ArchiveIterator(io.BytesIO(data))]  # fmt: skip
    assert [(kind, url) for kind, url, _ in found] == [
        ("response", "https://0.example/"), ("metadata", None), ("response", "https://2.example/"),
    ]  # fmt: skip
    assert [content for _, _, content in found][::2] == [b"<p>secret 0</p>", b"<p>secret 2</p>"]
    assert b"secret" not in found[1][2]
    fast = [one.headers.get("WARC-Target-URI") for one in FastIterator(io.BytesIO(bytes(data)))]
    assert fast == ["https://0.example/", None, "https://2.example/"]

"""Archives in bytes, as many writers make them: records in any spelling, packed in any form."""

import base64
import gzip
import hashlib
import io
import zipfile

import zstandard

PAGE = b"<!doctype html><title>t</title><p>" + b"words of a page " * 20


def http(body=PAGE, status="200 OK", lines=("Content-Type: text/html",), length=True):
    """An HTTP response."""
    told = [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, *told, "", ""]).encode("latin-1") + body


def record(block, url="http://a.test/", kind="response", end=b"\r\n\r\n", version="WARC/1.0", digest=False, **more):
    """One record. `more`: further fields, `segment_number` as WARC-Segment-Number; `content_type` stands alone."""
    media = more.pop("content_type", "application/http; msgtype=response")
    lines = [version, f"WARC-Type: {kind}", f"WARC-Target-URI: {url}", "WARC-Date: 2014-05-06T07:08:09Z"]
    more.setdefault("record_id", f"<urn:uuid:{hashlib.md5(block + url.encode() + kind.encode()).hexdigest()}>")
    if digest:
        more["block_digest"] = "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode()
    lines += [f"WARC-{name.replace('_', '-').title().replace('-Id', '-ID')}: {value}" for name, value in more.items()]
    return (
        "\r\n".join([*lines, f"Content-Type: {media}", f"Content-Length: {len(block)}", "", ""]).encode() + block + end
    )


def spelled(whole, change):
    """A record whose head's lines `change` has spelled anew: it is given name and value and gives a line."""
    head, _, rest = whole.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    parts = (line.partition(b": ") for line in lines)
    return b"\r\n".join([first, *(change(name, value) for name, _, value in parts), b"", b""]) + rest


def arc_record(block, url="http://a.test/", version=1, media="text/html", end=b"\n"):
    """One record of ARC."""
    more = f"200 sum - 1234 x.arc.gz {len(block)}" if version == 2 else str(len(block))
    return f"{url} 192.0.2.1 20070513010203 {media} {more}\n".encode() + block + end


def filedesc(version=1):
    """The first record of an ARC file."""
    names = "Archive-length" if version == 1 else "Result-code Checksum Location Offset Filename Archive-length"
    block = f"{version} 0 InternetArchive\nURL IP-address Archive-date Content-type {names}\n".encode()
    return arc_record(block, "filedesc://x.arc", version, "text/plain")


def packed(records):
    """Records as members of one .gz."""
    return b"".join(gzip.compress(one, mtime=0) for one in records)


def wacz(files, how=zipfile.ZIP_STORED, **others):
    """A WACZ: `files` in archive/, and what else a WACZ holds."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr("datapackage.json", '{"profile": "data-package", "wacz_version": "1.1.1"}', zipfile.ZIP_DEFLATED)
        for name, content in files.items():
            made.writestr(f"archive/{name}", content, how)
        made.writestr("indexes/index.cdx.gz", gzip.compress(b"test,a)/ 2014 {}\n"), zipfile.ZIP_STORED)
        made.writestr("pages/pages.jsonl", '{"format": "json-pages-1.0"}\n', zipfile.ZIP_DEFLATED)
        for name, content in others.items():
            made.writestr(name, content)
    return held.getvalue()


FORMS = {
    "s.warc": b"".join,
    "s.warc.gz": packed,
    "whole.warc.gz": lambda records: gzip.compress(b"".join(records), mtime=0),
    "s.warc.zst": lambda records: b"".join(zstandard.compress(one) for one in records),
    "s.wacz": lambda records: wacz({"1.warc.gz": packed(records[::2]), "2.warc": b"".join(records[1::2])}),
}

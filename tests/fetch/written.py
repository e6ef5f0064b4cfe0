"""WARC files written by warcio, a response a record."""

import io

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter


def page(url, body=b""):
    return url, "200 OK", [("Content-Type", "text/html")], body or b"<p>" + url.encode()


def moved(url, location, status="301 Moved"):
    return url, status, [("Location", location)], b""


def write(path, *captures):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, status, headers, body in captures:
            head = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=head))

"""What warcio records of a conversation with a server, as it went by: a head, chunks and codings as they came."""

import gzip
import http.client
import socketserver
import threading

import pytest
from warcio.capture_http import capture_http

from pipeline.config import PagesSettings
from pipeline.fetch.captures import index
from pipeline.fetch.readback import read_response
from tests.fetch.archives import PAGE
from tests.fetch.archives import http as answer

PACKED = gzip.compress(PAGE, mtime=0)
HTML = "Content-Type: text/html"


def chunked(body, size=100):
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


ANSWERS = {
    "/plain": answer(),
    "/hints": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
    "/packed": answer(PACKED, lines=[HTML, "Content-Encoding: gzip"]),
    "/chunks": answer(chunked(PAGE), lines=[HTML, "Transfer-Encoding: chunked"], length=False),
    "/both": answer(
        chunked(PACKED), lines=[HTML, "Content-Encoding: gzip", "Transfer-Encoding: chunked"], length=False
    ),
    "/until-the-end": answer(length=False),
    "/moved": answer(b"", "301 Moved", ["Location: /plain"]),
    "/gone": answer(b"no", "410 Gone"),
    "/picture": answer(b"\x89PNG", lines=["Content-Type: image/png"]),
}

ENDS = dict.fromkeys(ANSWERS, "kept") | {"/moved": "bad_redirect", "/gone": "not_found", "/picture": "not_html"}


class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        method, path, _ = self.rfile.readline().decode().split(" ")
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        self.wfile.write(answer(b"thank you" * 30) if method == "POST" else ANSWERS[path])


@pytest.fixture
def port():
    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def ask(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, body=b"a=b" if method == "POST" else None)
    connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize("name", ["captured.warc.gz", "captured.warc"])
def test_what_warcio_records_of_a_conversation_is_read_to_the_byte(tmp_path, port, name):
    path = tmp_path / name
    with capture_http(str(path), warc_version="1.1", gzip=name.endswith(".gz")):
        for asked in ANSWERS:
            ask(port, asked)
        ask(port, "/plain", "POST")
    captures = list(index(path, PagesSettings()))
    answers = [one for one in captures if one.kind == "response"]
    assert {one.url.partition(str(port))[2]: str(one.outcome) for one in answers[:-1]} == ENDS
    for one in answers:
        if one.outcome == "kept" and one is not answers[-1]:
            read = read_response(path, one.offset, one.length, 10**6, one.sha256)
            assert (read.body, read.content_type) == (PAGE, "text/html")
    (post,) = (one for one in captures if one.kind == "request")  # by it `pages` knows whose answer is no page
    assert set(post.concurrent_to) & {answers[-1].record_id} or post.record_id in answers[-1].concurrent_to

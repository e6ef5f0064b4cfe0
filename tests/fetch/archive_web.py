"""An archive of WARC files on loopback, which honours Range, and misbehaves when it is told to."""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ArchiveWeb:
    """`files`: path to bytes. `asked`: (path, first byte, last byte) of each request, in order.

    `faults`: a function of (path, first, last, requests so far) that may give (status, headers, body) instead.
    """

    def __init__(self, files):
        self.files = files
        self.asked = []
        self.faults = lambda *_: None

    def answer(self, path, told):
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", told).groups())
        self.asked.append((path, first, last))
        fault = self.faults(path, first, last, len(self.asked))
        if fault:
            return fault
        content = self.files.get(path)
        if content is None:
            return 404, {}, b""
        body = content[first : last + 1]
        return 206, {"Content-Range": f"bytes {first}-{first + len(body) - 1}/{len(content)}"}, body


@contextmanager
def archive_web(files):
    """The archive, with `settings`: what reaches it as archive.test."""
    archive = ArchiveWeb(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, headers, body = archive.answer(self.path.lstrip("/"), self.headers["Range"])
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        archive.settings = {
            "contact": "mailto:a@b.test",
            "gap_s": 0.0,
            "deadline_s": 10.0,
            "commoncrawl_url": "http://archive.test/",
            "local_hosts": {"archive.test": f"127.0.0.1:{server.server_port}"},
        }
        try:
            yield archive
        finally:
            server.shutdown()
            thread.join()

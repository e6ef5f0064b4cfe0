"""An object store on loopback, moto's server of S3, and a proxy before it that does to requests what networks do."""

import http.client
import os
import threading
import urllib.request
import uuid
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

from moto.server import ThreadedMotoServer

from pipeline.shards import objects


@contextmanager
def server():
    """The address of a store with nothing in it."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        yield "{}:{}".format(*running.get_host_and_port())
    finally:
        running.stop()


@contextmanager
def bucket(address, cache, named=""):
    """`s3://…` of a new bucket, or of the one named, at an address; what lies here of it lies in `cache`."""
    name = named or f"bucket-{uuid.uuid4().hex[:12]}"
    if not named:
        urllib.request.urlopen(urllib.request.Request(f"http://{address}/{name}", method="PUT")).close()
    with mock.patch.dict(os.environ, environment(address, cache)):
        objects.store.cache_clear()
        try:
            yield f"s3://{name}"
        finally:
            objects.store.cache_clear()


def environment(address, cache):
    """What a process needs to be told."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": f"http://{address}",
        "AWS_ALLOW_HTTP": "true",
        "WEBTEXT_CACHE": str(cache),
    }


class Faults:
    """Which requests meet with which accident: every `period`-th, the kinds in turn, never two in a row."""

    KINDS = ("refused", "answer lost", "unavailable", "never arrived")

    def __init__(self, period):
        self.period, self.seen, self.met, self.lock = period, 0, Counter(), threading.Lock()

    def next(self):
        """The accident of the next request, or "" for none."""
        with self.lock:
            self.seen += 1
            if not self.period or self.seen % self.period:
                return ""
            kind = self.KINDS[self.seen // self.period % len(self.KINDS)]
            self.met[kind] += 1
            return kind


@contextmanager
def proxy(address, faults):
    """The address of a proxy before the store at `address`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            kind = faults.next()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if kind == "never arrived":
                self.close_connection = True
                return
            if kind in ("refused", "unavailable"):
                self.answer(500 if kind == "refused" else 503, {}, b"")
                return
            upstream = http.client.HTTPConnection(address)
            upstream.request(self.command, self.path, body, dict(self.headers))
            found = upstream.getresponse()
            content, headers = found.read(), dict(found.getheaders())
            upstream.close()
            if kind == "answer lost":
                self.close_connection = True
                return
            self.answer(found.status, headers, content)

        def answer(self, status, headers, content):
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", len(content)) if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on  # noqa: N815 - what http.server looks for

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{running.server_address[1]}"
    finally:
        running.shutdown()
        running.server_close()

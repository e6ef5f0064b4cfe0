"""A Reddit on loopback: it gives tokens, and answers the API as a test says, or as real sessions were recorded."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.config import HarvestSettings
from pipeline.submissions.reddit import Client, Clock

RECORDED = Path(__file__).resolve().parents[2] / "../shared/data/reddit/recorded_api"
CLIENT_ID, CLIENT_SECRET, TOKEN = "an-id-of-a-test", "a-secret-of-a-test", "a-token-of-a-test"
TOKEN_ANSWER = {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600, "scope": "*"}
NOW = 1_700_000_000
HOUR = 3_600


class FakeClock:
    """Time that passes when somebody sleeps, and only then."""

    def __init__(self, now=NOW):
        self.time, self.slept = float(now), []

    def sleep(self, seconds):
        assert seconds >= 0
        self.slept.append(seconds)
        self.time += seconds

    def clock(self):
        return Clock(lambda: self.time, lambda: self.time - NOW, self.sleep)


@dataclass
class LocalReddit:
    """`answer(path, query)` gives (status, headers, body) or a JSON value, or a function of the handler to call."""

    answer: object
    sign_in: object = field(default_factory=lambda: TOKEN_ANSWER)
    url: str = ""
    asked: list = field(default_factory=list)  # (path, query) of the API
    heads: list = field(default_factory=list)  # headers of all requests
    sign_ins: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def more(self):
        """Settings of PRAW that lead here."""
        return {
            "reddit_url": self.url,
            "oauth_url": self.url,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }

    def client(self, clock, **settings):
        chosen = HarvestSettings(**{"gap_s": 0.0, "deadline_s": 20.0, "retries": 2, **settings})
        return Client(chosen, "webtext/0 (+mailto:a@b.test)", clock, self.more())

    def reply(self, handler, value):
        if callable(value):
            value(handler)
            return
        status, headers, body = value if isinstance(value, tuple) else (200, {}, value)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        always = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        if handler.close_connection:  # PRAW signs in so; unsaid, the client might send its next request too late
            always["Connection"] = "close"
        for name, content in {**always, **headers}.items():
            handler.send_header(name, content)
        handler.end_headers()
        handler.wfile.write(data)


def handler_of(reddit):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: the second would wait for 40 ms

        def do_POST(self):
            assert self.path == "/api/v1/access_token"
            self.rfile.read(int(self.headers["Content-Length"]))
            reddit.heads.append(dict(self.headers))
            reddit.sign_ins += 1
            reddit.reply(self, reddit.sign_in() if callable(reddit.sign_in) else reddit.sign_in)

        def do_GET(self):
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            reddit.heads.append(dict(self.headers))
            reddit.asked.append((parts.path, query))
            reddit.reply(self, reddit.answer(parts.path, query))

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def local_reddit(answer, **more):
    """Serve while the block lasts; see LocalReddit."""
    reddit = LocalReddit(answer, **more)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(reddit))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    reddit.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield reddit
    finally:
        reddit.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def post(number, age_h=1.0, score=5, now=NOW, **changes):
    """A link post as the API shows it today."""
    key = f"a{number}"
    fields = {
        "id": key, "name": f"t3_{key}", "url": f"http://host.test/{number}", "score": score, "subreddit": "books",
        "created_utc": float(now - int(age_h * HOUR)), "over_18": False, "is_self": False, "author": "somebody",
        "removed_by_category": None, "is_robot_indexable": True, "title": "t",
    }  # fmt: skip
    return {"kind": "t3", "data": {**fields, **changes}}


def listing(*children, after=None):
    return {"kind": "Listing", "data": {"children": list(children), "after": after, "modhash": ""}}


def recorded(name):
    """The (path, query, body) of the API's answers in a recorded session, in order; skips where there is none."""
    path = RECORDED / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"the recorded session {name} is not here")
    found = []
    for interaction in json.loads(path.read_bytes())["interactions"]:
        parts = urlsplit(interaction["request"]["uri"])
        if interaction["request"]["method"] == "GET":
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            found.append((parts.path, query, interaction["response"]["body"]["string"].encode()))
    return found

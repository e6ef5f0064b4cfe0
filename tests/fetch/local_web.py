"""A web on loopback that answers with literal bytes, so that a test can say anything a server may say."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pipeline.config import PagesSettings

PAGE = b"<!doctype html><html><head><title>t</title></head><body><p>Some words.</p></body></html>"
SOFTWARE = "webtext/0.0"


@dataclass
class LocalWeb:
    replies: dict
    port: int = 0
    connections: int = 0
    requests: list = field(default_factory=list)  # (host, path)
    times: list = field(default_factory=list)  # (host, seconds when the request had come, seconds when answered)
    heads: list = field(default_factory=list)  # the bytes of each request

    def settings(self, *names, **values):
        hosts = dict.fromkeys(names or {key.partition("/")[0] for key in self.replies}, f"127.0.0.1:{self.port}")
        return PagesSettings(
            **{"contact": "mailto:a@b.test", "gap_s": 0.0, "deadline_s": 10.0, "local_hosts": hosts, **values}
        )

    def paths(self):
        return [path for _, path in self.requests if path != "/robots.txt"]

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            head = await reader.readexactly(1)
            if head == b"\x16":  # a TLS handshake: RFC 8446, section 5.1
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            head += await reader.readuntil(b"\r\n\r\n")
            began = time.monotonic()
            lines = head.decode().split("\r\n")
            path = lines[0].split(" ")[1]
            host = next(line[6:] for line in lines if line.lower().startswith("host: ")).partition(":")[0]
            self.requests.append((host, path))
            self.heads.append(head)
            answer = self.replies.get(host + path, reply(b"no such page", status="404 Not Found"))
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            if callable(answer):
                await answer(writer)
            else:
                self.times.append((host, began, time.monotonic()))  # before the client can know
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def reply(body=PAGE, status="200 OK", length=True, **headers):
    lines = [f"HTTP/1.1 {status}"]
    headers = {"content_type": "text/html", **headers}
    if length:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def redirect(location, status="302 Found"):
    return reply(b"", status=status, location=location)


@asynccontextmanager
async def local_web(replies):
    """Serve `replies`: host + path -> bytes, a list of bytes to be given in turn, or an async function(writer)."""
    web = LocalWeb(replies)
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
        await server.wait_closed()

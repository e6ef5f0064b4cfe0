"""A headless Chromium, driven by the protocol of its developer tools (chromedevtools.github.io/devtools-protocol).

Choice: the protocol itself over aiohttp's websocket, which the crawler brings. Cost: a driver of a page. Alternative:
Playwright or Selenium, which bring a browser or a driver of their own.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell", "chromium-headless-shell")
VARIABLE = "WEBTEXT_CHROMIUM"  # a path that goes before these names
DEADLINE_S = 60


def found():
    """The browser's path, or None."""
    return os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a browser. What it says of itself while it is used is kept in `events`."""

    def __init__(self, runner, socket):
        self.runner, self.socket, self.events, self.number = runner, socket, [], 0

    def call(self, method, **arguments):
        return self.runner.run(asyncio.wait_for(self.ask(method, arguments), DEADLINE_S))

    async def ask(self, method, arguments):
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": arguments})
        while True:
            said = await self.socket.receive_json()
            if said.get("id") == self.number:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    def of(self, method):
        """The events of a kind so far."""
        return [event["params"] for event in self.events if event["method"] == method]

    def open(self, path, width=1280, height=900, scheme="light"):
        """Show a file in a window of a size, and wait until it is drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not self.value("document.readyState === 'complete'"):
            pass
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def value(self, expression):
        """What an expression gives on the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key, code=0, text=""):
        for kind in ("keyDown", "keyUp"):
            down = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **down)


@contextlib.contextmanager
def running(profile):
    """A browser that ends with the block, with all its processes."""
    command = [found(), "--headless", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [*command, "--no-first-run", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        host = next(told[1] for line in process.stderr if (told := re.search(r"ws://([^/]+)/", line)))
        with asyncio.Runner() as runner:
            yield from attached(runner, host)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def attached(runner, host):
    """The browser's first page."""

    async def connect():
        session = aiohttp.ClientSession()
        async with session.get(f"http://{host}/json/list") as answer:
            (page,) = [one for one in await answer.json() if one["type"] == "page"]
        return session, await session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    session, socket = runner.run(asyncio.wait_for(connect(), DEADLINE_S))
    try:
        browser = Browser(runner, socket)
        for domain in ("Page", "Log", "Runtime", "Network", "Accessibility"):
            browser.call(f"{domain}.enable")
        yield browser
    finally:
        runner.run(session.close())

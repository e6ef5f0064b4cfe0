"""Take the README's picture of a report: `python docs/picture.py webtext-demo` (or `make picture`). Needs Chromium."""

import base64
import sys
import tempfile
from pathlib import Path

from pipeline import config
from pipeline.verbs.report import write
from tests.verbs.report import browser

WIDTH, HEIGHT = 1280, 1130  # pixels: down to the end of the funnel

if __name__ == "__main__":
    work = Path(sys.argv[1])
    if browser.found() is None:
        sys.exit(f"no browser: none of {', '.join(browser.NAMES)} is on the PATH, and {browser.VARIABLE} is not set")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, browser.running(Path(folder) / "me") as one:
        write.report(work, config.load(work / config.FILE_NAME, []).build.shards, Path(folder))
        one.call("Emulation.setScrollbarsHidden", hidden=True)
        one.open(Path(folder) / write.PAGE, WIDTH, HEIGHT)
        picture = one.call("Page.captureScreenshot", format="png")["data"]
        Path(__file__).with_name("report.png").write_bytes(base64.b64decode(picture))

"""An export on the Hugging Face hub: `huggingface_hub` itself, against a server on loopback that answers as it does."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.shards.outcomes import ConfigError, IntegrityError, OutageError, StorageError
from pipeline.verbs.export.folder import ABOUT
from pipeline.verbs.push import push

TOKEN = "hf_secretsecretsecret"
LARGE = ".parquet"  # goes by LFS, as the hub's .gitattributes have it


class Hub:
    """What the server holds: repositories as {path: bytes}, blobs by sha256, and what it is told to refuse."""

    def __init__(self):
        self.files, self.private, self.blobs = {}, {}, {}
        self.put, self.commits, self.refuse = [], 0, {}


def entry(path, data):
    found = {
        "type": "file",
        "path": path,
        "size": len(data),
        "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
    }
    if path.endswith(LARGE):
        found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, value=b"", **headers):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, held in headers.items():
            self.send_header(name.replace("_", "-"), held)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_any(self):
        hub, path, data = self.server.hub, self.path.partition("?")[0], self.body()
        for part, status in hub.refuse.items():
            if part in path:
                return self.answer(status, {"error": "refused"})
        if path.startswith("/blob/"):
            hub.put.append(path.rpartition("/")[2])
            hub.blobs[path.rpartition("/")[2]] = data
            return self.answer(200)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "who?"})
        if path == "/api/repos/create":
            asked = json.loads(data)
            name = f"{asked.get('organization')}/{asked['name']}" if asked.get("organization") else asked["name"]
            hub.files.setdefault(name, {".gitattributes": b"*.parquet filter=lfs\n"})
            hub.private[name] = asked.get("visibility") == "private"
            return self.answer(200, {"url": f"http://{self.headers['Host']}/datasets/{name}"})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        parts = path.removeprefix("/api").removeprefix("/datasets").removeprefix("/models").strip("/").split("/")
        name, rest = "/".join(parts[:2]).removesuffix(".git"), "/".join(parts[2:])
        if name not in hub.files:
            return self.answer(404, {"error": "no"}, X_Error_Code="RepoNotFound")
        return self.of_repo(hub, name, rest, data)

    def of_repo(self, hub, name, rest, data):
        files = hub.files[name]
        if rest.startswith("tree/"):
            return self.answer(200, [entry(path, held) for path, held in sorted(files.items())])
        if rest.startswith("preupload/"):
            asked = json.loads(data)["files"]
            modes = [
                {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular"}
                for one in asked
            ]
            return self.answer(200, {"files": [{**one, "shouldIgnore": False, "oid": None} for one in modes]})
        if rest.endswith("objects/batch"):
            found = []
            for one in json.loads(data)["objects"]:
                known = one["oid"] in hub.blobs
                href = f"http://{self.headers['Host']}/blob/{one['oid']}"
                found.append(one if known else one | {"actions": {"upload": {"href": href, "header": {}}}})
            return self.answer(
                200, {"transfer": "basic", "objects": found}, Content_Type="application/vnd.git-lfs+json"
            )
        if rest.startswith("commit/"):
            for line in map(json.loads, data.splitlines()):
                held = line["value"]
                if line["key"] == "file":
                    files[held["path"]] = base64.b64decode(held["content"])
                elif line["key"] == "lfsFile":
                    files[held["path"]] = hub.blobs[held["oid"]]
                elif line["key"] == "deletedFile":
                    del files[held["path"]]
            hub.commits += 1
            url = f"http://{self.headers['Host']}/datasets/{name}/commit/{'1' * 40}"
            return self.answer(200, {"success": True, "commitOid": "1" * 40, "commitUrl": url, "pullRequestUrl": None})
        if rest.startswith("resolve/"):
            held = files[rest.split("/", 2)[2]]
            return self.answer(200, held, ETag=f'"{hashlib.sha1(held).hexdigest()}"', X_Repo_Commit="1" * 40)
        return self.answer(200, {"id": name, "private": hub.private[name], "siblings": [], "sha": "1" * 40})

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815 - http.server's names


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its own server; the hub takes LFS as well
    yield server.hub
    server.shutdown()
    server.server_close()


def exported(folder, form="parquet", **files):
    """A folder as `export` leaves it, of these files."""
    folder.mkdir(exist_ok=True)
    data = {"README.md": b"# card\n", **{name.replace("_parquet", LARGE): held for name, held in files.items()}}
    for path in folder.iterdir():
        path.unlink()
    for name, held in data.items():
        (folder / name).write_bytes(held)
    stamps = {name: {"sha256": hashlib.sha256(held).hexdigest(), "bytes": len(held)} for name, held in data.items()}
    (folder / ABOUT).write_text(json.dumps({"format": form, "files": stamps}))
    return folder


def pushed(*arguments):
    done = CliRunner().invoke(app.app, ["push", "me/corpus", *map(str, arguments)])
    assert TOKEN not in done.output
    return done


def test_a_push_makes_the_repository_hold_the_export(hub, tmp_path):
    folder = exported(tmp_path / "out", train_parquet=b"rows" * 9, val_parquet=b"more")
    done = pushed("--from", folder, "--private")
    assert done.exit_code == 0, done.output
    assert {name: held for name, held in hub.files["me/corpus"].items() if name != ".gitattributes"} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert hub.private["me/corpus"]
    assert "dataset me/corpus: 4 files" in done.output


def test_a_second_push_sends_what_changed_and_deletes_what_is_no_more_part_of_it(hub, tmp_path):
    folder = exported(tmp_path / "out", a_parquet=b"same", b_parquet=b"old", c_parquet=b"gone")
    push(folder, "me/corpus")
    hub.files["me/corpus"]["picture.png"] = b"theirs"
    assert push(folder, "me/corpus").sent == {}
    assert hub.commits == 1
    exported(folder, a_parquet=b"same", b_parquet=b"new")
    hub.put.clear()
    would = push(folder, "me/corpus", dry_run=True)
    assert (hub.commits, hub.put) == (1, [])
    done = push(folder, "me/corpus")
    assert done == would
    assert (set(done.sent), done.deleted, done.same) == ({"b.parquet", ABOUT}, ["c.parquet"], 2)
    assert hub.put == [hashlib.sha256(b"new").hexdigest()]
    assert set(hub.files["me/corpus"]) == {
        ".gitattributes",
        "picture.png",
        "README.md",
        "a.parquet",
        "b.parquet",
        ABOUT,
    }


@pytest.mark.failure("the hub fails during a push", "exit 7; the line says so", "run it again: it goes on")
def test_a_push_that_was_cut_short_does_not_send_again_what_arrived(hub, tmp_path):
    folder = exported(tmp_path / "out", a_parquet=b"large" * 99)
    hub.refuse = {"/commit/": 422}
    with pytest.raises(StorageError, match="me/corpus: the hub answers 422; run the same command again"):
        push(folder, "me/corpus")
    assert len(hub.put) == 1
    hub.refuse = {}
    push(folder, "me/corpus")
    assert len(hub.put) == 1
    assert hub.files["me/corpus"]["a.parquet"] == b"large" * 99


def test_a_model_goes_to_a_repository_of_models(hub, tmp_path):
    assert push(exported(tmp_path / "out", form="gguf"), "me/corpus").kind == "model"


def test_what_may_not_be_is_one_line(hub, tmp_path, monkeypatch):
    folder = exported(tmp_path / "out", a_parquet=b"rows")
    with pytest.raises(ConfigError, match="no export; run: webtext export"):
        push(tmp_path, "me/corpus")
    hub.files["me/corpus"], hub.private["me/corpus"] = {"theirs.bin": b"x"}, False
    with pytest.raises(ConfigError, match=r"me/corpus: holds theirs\.bin, and no export; name another repository"):
        push(folder, "me/corpus")
    hub.files["me/corpus"] = {}
    with pytest.raises(ConfigError, match="me/corpus: is public; make it private on the hub"):
        push(folder, "me/corpus", private=True)
    with pytest.raises(ConfigError, match="no name of a repository; expected OWNER/NAME"):
        push(folder, "no name/at all")
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(ConfigError, match="you may not write there; run: hf auth login, or set HF_TOKEN"):
        push(folder, "me/corpus")
    (folder / "a.parquet").write_bytes(b"rowz")
    with pytest.raises(IntegrityError, match=r"a\.parquet: is not as it was exported"):
        push(folder, "me/corpus")
    assert hub.commits == 0


def test_a_hub_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = exported(tmp_path / "out", a_parquet=b"rows")
    with pytest.raises(OutageError, match="me/corpus: the hub cannot be reached"):
        push(folder, "me/corpus", private=True)


def test_a_dry_run_without_a_network_says_what_would_be_sent_at_most(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = exported(tmp_path / "out", a_parquet=b"rows")
    done = pushed("--from", folder, "--dry-run", "--private")
    assert done.exit_code == 0, done.output
    assert "would send a.parquet" in done.output
    assert "3 files" in done.output
    assert "the hub cannot be reached: what it has will not be sent" in done.output


def test_a_repository_without_an_owner_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="bees: no owner; expected OWNER/NAME"):
        push(tmp_path, "bees", dry_run=True)

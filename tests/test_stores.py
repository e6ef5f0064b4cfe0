"""A working directory on an object store keeps the promises that a folder keeps: the same bytes, resume, one writer."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import msgspec
import pytest

from pipeline import build, config, documents
from pipeline.build import STAGES
from pipeline.config import TrainSettings
from pipeline.demo.web import LocalWeb
from pipeline.shards import lease, leftovers, objects, receipts, storage, transfer
from pipeline.shards.locations import location_of, mirror, name_of
from pipeline.shards.outcomes import BusyError, ConfigError, IntegrityError, StorageError
from pipeline.shards.receipts import Artefact, Task
from pipeline.shards.runner import BeamRun, PlainRun
from pipeline.status import recorded, status_of
from tests import engines, stores
from tests.own_data import write_both
from tests.test_killed import REPOSITORY, begin
from trainer.train import train

STRIDES = range(5, 260, 9) if os.environ.get("WEBTEXT_LONG") else (23, 41, 67)
INPUTS = ("submissions.ndjson", "encyclopedia.xml", config.FILE_NAME)


@pytest.fixture(scope="module")
def address():
    with stores.server() as found:
        yield found


@pytest.fixture
def root(address, tmp_path):
    with stores.bucket(address, tmp_path / "cache") as name:
        yield mirror(f"{name}/work")


def put_inputs(folder, root, web, pages=40):
    """The inputs of a small build, in a folder and on the store."""
    begin(folder, web, pages)
    for name in INPUTS:
        storage.write_bytes(root / name, (folder / name).read_bytes())


def settings_of(root):
    return config.load(storage.local(root / config.FILE_NAME))


def crawled(root, folder):
    """Bring the committed pages of the store into a folder, for a build that does not crawl."""
    for path in storage.names(root / "pages" / "segments", "*"):
        target = folder / "pages" / "segments" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(storage.read_bytes(path))


def contents(root):
    """What receipts and manifests say of every file of every stage."""
    found = {}
    for stage in STAGES:
        for path in storage.names(root / stage / ".receipts", "*.json"):
            receipt = json.loads(storage.read_bytes(path))
            found[stage, path.name] = receipt["files"], receipt["books"], receipt["fingerprint"]
        found[stage] = storage.read_bytes(root / stage / ".manifest.json")
    return found


def test_a_crawled_segment_is_asked_for_once_whatever_the_number_of_its_pages(root, tmp_path, monkeypatch):
    with LocalWeb() as web:
        put_inputs(tmp_path / "local", root, web, pages=12)
        build.build(root, settings_of(root), "pages", run=PlainRun())
    segments = storage.names(root / "pages" / "segments", "*.warc.gz")
    asked, ask = [], objects.asked
    monkeypatch.setattr(objects, "asked", lambda path: asked.append(path) or ask(path))
    monkeypatch.setattr(transfer, "Ranges", lambda path: pytest.fail(f"{path} is read by ranges"))
    shutil.rmtree(os.environ["WEBTEXT_CACHE"])  # another machine
    documents.segment.cache_clear()
    objects.forget(root)  # as a worker, which keeps no view
    pages, chosen = Artefact(root, "pages", settings_of(root).build.shards), settings_of(root)
    for shard in range(pages.shards):
        rows = documents.kept_pages(pages, shard)
        assert len(rows) > 1
        for row in rows:
            assert documents.response_of(row, pages, shard, chosen.pages.limit_bytes).sha256 == row["sha256"]
    counts = Counter(path for path in asked if path in segments)
    assert set(counts) <= set(segments)
    assert set(counts.values()) == {1}


def test_every_stage_writes_to_a_store_what_it_writes_to_a_folder_and_another_machine_finds_it_done(
    root, tmp_path, monkeypatch
):
    with LocalWeb() as web:
        put_inputs(tmp_path / "local", root, web)
        build.build(root, settings_of(root))
        crawled(root, tmp_path / "local")
        build.build(tmp_path / "local", config.load(tmp_path / "local" / config.FILE_NAME))
        asked = web.hits.total()
        assert contents(root) == contents(tmp_path / "local")

        monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "other"))
        there = mirror(name_of(root))
        assert {one.state for one in status_of(there, settings_of(there)).values()} == {"whole"}
        before = {at.key: found for at, found in objects.listed(there)}
        build.build(there, settings_of(there))
        assert {at.key: found for at, found in objects.listed(there)} == before
        assert web.hits.total() == asked
        for stage in STAGES:  # and every byte is to be had
            one = build.artefact(there, stage, 2)
            for shard in range(one.shards):
                for name, stamp in one.made(shard).files.items():
                    assert storage.sha256_of(one.named(shard, name)) == stamp.sha256


def test_a_store_that_loses_refuses_and_delays_requests_gets_the_same_bytes(address, root, tmp_path):
    faults = stores.Faults(period=23)
    bucket = location_of(root).bucket.removeprefix("s3://")
    with LocalWeb() as web:
        put_inputs(tmp_path / "local", root, web)
        with stores.proxy(address, faults) as through, stores.bucket(through, tmp_path / "faulty", bucket):
            here = mirror(name_of(root))
            build.build(here, settings_of(here))
        crawled(root, tmp_path / "local")
        build.build(tmp_path / "local", config.load(tmp_path / "local" / config.FILE_NAME))
    assert contents(root) == contents(tmp_path / "local")
    assert min(faults.met[kind] for kind in faults.KINDS) >= 2, faults.met


def run_build(address, root, cache, kill_at):
    """The exit code of a build from a machine without a cache that dies at its `kill_at`-th call (0: lives)."""
    environment = {
        **os.environ,
        **stores.environment(address, cache),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONSAFEPATH": "1",
    }
    command = [sys.executable, str(REPOSITORY / "tests" / "killed_build.py"), name_of(root), str(kill_at)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode


@pytest.mark.failure(
    "a build on an object store is killed, with its machine",
    "another machine goes on two minutes later; no committed page is fetched again",
    "run it again, anywhere",
)
def test_a_build_killed_again_and_again_goes_on_from_another_machine_each_time(address, root, tmp_path):
    with LocalWeb() as web:
        put_inputs(tmp_path / "local", root, web)
        frozen, ends = {}, []
        for number, kill_at in enumerate((*STRIDES, 0)):
            ends.append(run_build(address, root, tmp_path / f"cache{number}", kill_at))
            for page, hits in frozen.items():
                assert web.hits[page] == hits, f"{page} was committed and fetched again"
            frozen = {page: web.hits[page] for page in committed(root)}
        assert ends == [-signal.SIGKILL] * len(STRIDES) + [0]
        assert len(frozen) > 20
        crawled(root, tmp_path / "local")
        build.build(tmp_path / "local", config.load(tmp_path / "local" / config.FILE_NAME))
    mine, theirs = contents(root), contents(tmp_path / "local")
    assert mine == theirs


def committed(root):
    """(host, path) of every link in a committed segment."""
    from pipeline import urls
    from pipeline.shards import schemas

    tables = [
        schemas.read_parquet(storage.local(path)) for path in storage.names(root / "pages" / "segments", "*.parquet")
    ]
    found = [url for table in tables for url in table["final_url"].to_pylist() if url]
    return {(urls.host_of(url), urls.path_of(url)) for url in found}


def test_to_tell_how_far_a_build_is_takes_no_request_a_shard(root, monkeypatch):
    one = Artefact(root, "links", 40)
    for shard in range(40):
        with one.attempt(Task(shard, "a" * 32)) as attempt:
            with attempt.write(".parquet") as file:
                file.write(b"data")
            attempt.commit({})
    asked = []
    ask = objects.store
    monkeypatch.setattr(objects, "store", lambda bucket: asked.append(bucket) or ask(bucket))
    monkeypatch.setattr(transfer, "store", objects.store)
    assert recorded(root, 40)["links"].done == 40
    assert len(asked) <= 2
    assert objects.view_of(root) is None


# --- two writers


@pytest.mark.failure(
    "a second run on another machine, in the same directory of a store", "exit 4, and who holds it", "wait, or stop it"
)
def test_a_second_run_from_another_machine_is_refused_with_who_holds_it(root, tmp_path, monkeypatch):
    with lease.lock(root):
        with pytest.raises(BusyError, match=rf"in use by process {os.getpid()} on "), lease.lock(root):
            pass
        monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "other"))
        there = mirror(name_of(root))
        with pytest.raises(BusyError, match=rf"^s3://.*: in use by process {os.getpid()} on "), lease.lock(there):
            pass
        monkeypatch.undo()
    with lease.lock(mirror(name_of(root))):
        pass
    assert not storage.exists(root / lease.LEASE)


@pytest.mark.parametrize("rubbish", [b"", b"[1]", b"null", b'{"holder": 7}'])
def test_a_lease_that_is_none_is_one_that_somebody_holds(root, rubbish):
    storage.write_bytes(root / lease.LEASE, rubbish)
    with pytest.raises(BusyError, match=r"in use by (another process|7); wait"), lease.lock(root):
        pass


def test_a_dead_holders_lease_expires_and_one_that_lost_it_is_told(root, tmp_path, monkeypatch):
    now = transfer.now
    monkeypatch.setattr(lease, "LEASE_S", 0.4)
    renewed, taken_over = lease.threading.Event(), lease.threading.Event()
    written = lease.written

    def beat(path, before):  # a holder that is kept from renewing its lease until another has it
        if before and path.is_relative_to(tmp_path / "cache"):
            renewed.set()
            assert taken_over.wait(60)
        return written(path, before)

    monkeypatch.setattr(lease, "written", beat)
    with pytest.raises(BusyError, match="away for too long, and another run took over"), lease.lock(root):
        assert renewed.wait(60)
        monkeypatch.setattr(transfer, "now", lambda root: now(root) + 3600)
        monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "other"))
        with lease.lock(mirror(name_of(root))) as check:
            taken_over.set()
            check()


@pytest.mark.failure(
    "a machine sleeps until another has taken over its directory on a store",
    "exit 4, within seconds of its waking; what it had committed stays",
    "nothing: the other goes on",
)
def test_a_run_that_lost_its_lease_is_stopped_in_the_midst_of_its_work(root, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 0.8)
    with pytest.raises(BusyError, match="away for too long, and another run took over"), lease.lock(root):
        data = json.dumps({"holder": "somebody else"}).encode()  # who came when it had run out
        transfer.put_bytes_once(root / lease.LEASE, data, objects.known(root / lease.LEASE).mark)
        work_on()
    assert json.loads(transfer.content(root / lease.LEASE)) == {"holder": "somebody else"}  # it is theirs


def work_on():
    """A stage that asks nobody whether it may go on."""
    for _ in range(600):
        time.sleep(0.1)
    pytest.fail("nobody stopped it")


@pytest.mark.failure(
    "the store is away for longer than a lease lasts",
    "exit 7, and the run stops",
    "run it again when it can be reached",
)
def test_a_run_that_cannot_renew_its_lease_is_stopped_before_another_may_have_it(root, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 0.8)
    written = lease.written

    def away(path, before):
        if before:
            raise StorageError("the store is away")
        return written(path, before)

    monkeypatch.setattr(lease, "written", away)
    with pytest.raises(StorageError, match=r"its lease could not be renewed for 0\.8 s"), lease.lock(root):
        work_on()


def test_a_lease_is_renewed_whatever_becomes_of_the_cache(root, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 8.0)
    written, renewed = lease.written, threading.Semaphore(0)

    def beat(path, before):
        mark = written(path, before)
        renewed.release()
        return mark

    with lease.lock(root) as check:
        shutil.rmtree(tmp_path / "cache")
        monkeypatch.setattr(lease, "written", beat)
        assert renewed.acquire(timeout=60)
        assert renewed.acquire(timeout=60)
        monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "other"))
        with pytest.raises(BusyError, match="in use by process"), lease.lock(mirror(name_of(root))):
            pass
        check()


def test_a_build_whose_cache_is_cleared_between_two_stages_ends_as_it_would_have(root, tmp_path):
    write_both(tmp_path / "inputs", pages=4)
    for path in (tmp_path / "inputs").iterdir():
        storage.write_bytes(root / path.name, path.read_bytes())
    tables = {"links": {"submissions": ["dump.ndjson"]}, "pages": {"warc": ["*.warc.gz"]}, "corpus": {"min_words": 20}}
    settings = config.parse({"build": {"shards": 2}, "tokenizer": {"vocab_size": 300}, **tables})
    clear = lambda _stage: shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # noqa: E731
    build.build(root, settings, run=PlainRun(), started=clear)
    assert {one.state for one in status_of(root, settings).values()} == {"whole"}


def test_an_export_goes_to_a_store_whole_or_says_that_it_is_not(root, tmp_path, monkeypatch):
    from pipeline.verbs.export.folder import ABOUT, replacing

    out = root / "exported"
    with replacing(out, force=False) as folder:
        assert json.loads(transfer.content(out / ABOUT)) == {"unfinished": True}
        (folder / "train.jsonl").write_bytes(b"rows")
        (folder / ABOUT).write_bytes(b"{}")
    assert {name: transfer.content(out / name) for name in ("train.jsonl", ABOUT)} == {
        "train.jsonl": b"rows",
        ABOUT: b"{}",
    }
    with pytest.raises(ConfigError, match="is there already"), replacing(out, force=False):
        pass
    with pytest.raises(RuntimeError), replacing(out, force=True):
        raise RuntimeError  # cut short
    assert json.loads(transfer.content(out / ABOUT)) == {"unfinished": True}
    with replacing(out, force=True) as folder:
        (folder / ABOUT).write_bytes(b"{}")
    assert [at.key for at, _ in objects.listed(out)] == [f"work/exported/{ABOUT}"]
    assert not any(path.is_dir() for path in (tmp_path / "cache").glob("export*"))
    storage.write_bytes(root / "other" / "file", b"a user's")
    with pytest.raises(ConfigError, match="and no export"), replacing(root / "other", force=True):
        pass


def test_of_two_attempts_at_one_shard_the_receipt_picks_one_and_what_it_names_is_whole(root, tmp_path, monkeypatch):
    def attempted(text):
        """A machine that begins an attempt; what is returned commits it."""
        monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / text))
        one = Artefact(mirror(name_of(root)), "pages", 1)
        attempt = receipts.Attempt(one, Task(0, "f" * 32))
        with attempt.write(".parquet") as file:
            file.write(text.encode())
        return one, attempt

    one, first = attempted("first")
    two, second = attempted("second")
    first.commit({})
    second.commit({})
    assert two.file(0, ".parquet").read_bytes() == b"first"
    assert one.file(0, ".parquet").read_bytes() == b"first"
    mine = root / "given.0123456789abcdef.parquet"  # a user's file, named as attempts are
    storage.write_bytes(mine, b"a user's")
    stray = storage.names(root / "pages", "*.parquet")
    assert leftovers.sweep(root) == len(stray) - 1
    assert len(storage.names(root / "pages", "*.parquet")) == 1
    assert storage.read_bytes(mine) == b"a user's"
    assert two.file(0, ".parquet").read_bytes() == b"first"


def test_a_shard_made_otherwise_meanwhile_is_an_error_and_stays_as_it_is(root, tmp_path, monkeypatch):
    monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "slow"))
    slow = Artefact(mirror(name_of(root)), "links", 1)
    attempt = receipts.Attempt(slow, Task(0, "a" * 32))
    with attempt.write(".parquet") as file:
        file.write(b"slow")
    publish, monkeypatch_commit = storage.commit, []

    def late(*arguments):
        if not monkeypatch_commit:
            monkeypatch_commit.append(True)
            monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "quick"))
            quick = Artefact(mirror(name_of(root)), "links", 1)
            with quick.attempt(Task(0, "b" * 32)) as other:
                with other.write(".parquet") as file:
                    file.write(b"quick")
                other.commit({})
            monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "slow"))
        return publish(*arguments)

    monkeypatch.setattr(storage, "commit", late)
    with pytest.raises(IntegrityError, match="another run has made this shard meanwhile"):
        attempt.commit({})
    assert slow.file(0, ".parquet").read_bytes() == b"quick"


def test_a_shard_that_is_made_anew_leaves_nothing_of_the_old_one(root):
    one = Artefact(root, "links", 1)
    for fingerprint, text in (("a" * 32, b"old"), ("b" * 32, b"new")):
        with one.attempt(Task(0, fingerprint)) as attempt:
            with attempt.write(".parquet") as file:
                file.write(text)
            attempt.commit({})
    assert one.file(0, ".parquet").read_bytes() == b"new"
    assert len(storage.names(root / "links", "*.parquet")) == 1


@pytest.mark.failure(
    "an object of a directory on a store is lost or damaged", "exit 5; the line names it", "run the command it gives"
)
@pytest.mark.parametrize("damage", [None, b"rubbish", b"dat4"])
def test_a_damaged_object_is_named_with_the_command_that_mends_it(root, damage):
    one = Artefact(root, "links", 1)
    with one.attempt(Task(0, "a" * 32)) as attempt:
        with attempt.write(".parquet") as file:
            file.write(b"data")
        attempt.commit({})
    (lies,) = storage.names(root / "links", "*.parquet")
    if damage is None:
        storage.remove(lies)
    else:
        storage.write_bytes(lies, damage)
    with pytest.raises(IntegrityError, match=r"run: aws s3 rm s3://.*/links/.receipts/00000-of-00001.json and build"):
        one.file(0, ".parquet")


# --- inputs and verbs


def test_dumps_and_warc_files_on_a_store_give_the_corpus_that_files_give(root, tmp_path, monkeypatch):
    """The WARC files of a crawl, named by a glob of objects and of files; nothing is asked of any web."""
    with LocalWeb() as web:
        put_inputs(tmp_path / "local", root, web)
        build.build(root, settings_of(root), "pages")
    given = tmp_path / "given"
    given.mkdir()
    for path in storage.names(root / "pages" / "segments", "*.warc.gz"):
        (given / path.name).write_bytes(storage.read_bytes(path))
    monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "other"))
    bucket, found = location_of(root).bucket, {}
    inputs = {
        "objects": (f"{bucket}/work/*.ndjson", f"{bucket}/**/segments/*.warc.gz", mirror(f"{bucket}/second")),
        "files": (str(tmp_path / "local" / "*.ndjson"), str(given / "*.warc.gz"), tmp_path / "second"),
    }
    for kind, (dumps, warc, folder) in inputs.items():
        settings = config.parse(
            {
                "build": {"shards": 2, "workers": 1},
                "links": {"submissions": [dumps]},
                "pages": {"warc": [warc], "crawl": "never"},
                "corpus": {"min_words": 20},
            }
        )
        manifests = build.build(folder, settings, "corpus")
        found[kind] = {name: manifest.books for name, manifest in manifests.items()}
        shards = build.artefact(folder, "corpus", 2)
        found[kind]["corpus"] = [shards.file(shard, ".parquet").read_bytes() for shard in range(2)]
    assert found["objects"]["pages"]["pages"].outcomes["kept"] > 20
    assert found["objects"] == found["files"]
    copies = {path.suffix for path in (tmp_path / "other").rglob("*") if path.is_file()} & {".ndjson", ".gz"}
    assert copies == set()  # they are read where they lie


def test_what_is_removed_is_gone_from_the_store_and_stays_gone(root, tmp_path, monkeypatch):
    from pipeline.verbs.remove import remove

    with LocalWeb() as web:
        put_inputs(tmp_path / "local", root, web)
        settings = settings_of(root)
        build.build(root, settings)
        page = next(row for shard in range(2) for row in rows_of(root, "corpus", shard))
        remove(root, 2, [page["doc_id"]])
        shutil.rmtree(tmp_path / "cache")
        build.build(root, settings)
        assert page["doc_id"] not in {row["doc_id"] for shard in range(2) for row in rows_of(root, "corpus", shard)}
        assert page["text"][:80].encode() not in everything(root)


def rows_of(root, stage, shard):
    from pipeline.shards import schemas

    return schemas.read_parquet(build.artefact(root, stage, 2).file(shard, ".parquet")).to_pylist()


def everything(root):
    """The bytes of all artefacts that hold text, unpacked."""
    import gzip

    found = b"".join(
        gzip.decompress(storage.read_bytes(path)) for path in storage.names(root / "pages" / "segments", "*.warc.gz")
    )
    rows = [
        row["text"] for stage in ("documents", "corpus") for shard in range(2) for row in rows_of(root, stage, shard)
    ]
    return found + "".join(rows).encode()


def test_workers_whose_caches_are_their_own_share_nothing_but_the_store(root, tmp_path, monkeypatch):
    write_both(tmp_path / "inputs", pages=12)
    for path in (tmp_path / "inputs").iterdir():
        storage.write_bytes(root / path.name, path.read_bytes())
    settings = config.parse(
        {
            "build": {"shards": 2, "workers": 1},
            "links": {"submissions": ["dump.ndjson"]},
            "pages": {"warc": ["*.warc.gz"]},
            "corpus": {"min_words": 20},
            "tokenizer": {"vocab_size": 400},
        }
    )
    monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "worker"))
    with engines.options(engines.pool_of_threads) as options:
        monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "cache"))
        run = BeamRun("PortableRunner", 1, options, root / "scratch")
        manifests = build.build(root, settings, run=run)
    assert manifests["tokens"].books["tokens"].outcomes["kept"] > 5
    local = tmp_path / "local"
    shutil.copytree(tmp_path / "inputs", local)
    build.build(local, settings)
    mine, theirs = contents(root), contents(local)
    files = [key for key in mine if isinstance(key, tuple) and key[0] not in ("pages", "documents")]  # where pages lie
    assert [mine[key][0] for key in files] == [theirs[key][0] for key in files]
    assert len(files) == 7
    assert not list((tmp_path / "cache").rglob(".job-*"))


def test_a_run_of_the_trainer_goes_on_on_another_machine_and_the_verbs_take_the_address(
    address, root, tmp_path, monkeypatch
):
    with LocalWeb() as web:
        put_inputs(tmp_path / "local", root, web)
        build.build(root, settings_of(root))
    small = TrainSettings(
        preset="nano", block=32, batch=2, steps=4, warmup_steps=1, checkpoint_every=2, eval_every=4, accumulate=1
    )
    train(small, root, root / "model", lambda _: None)
    monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "other"))
    there = mirror(name_of(root))
    more = msgspec.structs.replace(small, steps=6)
    result = train(more, there, there / "model", lambda _: None)
    assert "goes on from step 4" in result.notes
    assert result.step == 6
    kept = {at.key.rpartition("/")[0] for at, _ in objects.listed(root / "model")}
    assert kept == {"work/model", "work/model/step-00000004", "work/model/step-00000006"}

    def said(*words):
        environment = {**os.environ, **stores.environment(address, tmp_path / "verbs"), "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "pipeline", *words, "--dir", name_of(root)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert said("status").count("whole") == len(STAGES)
    url = rows_of(root, "links", 0)[0]["url"]
    assert "outcome: kept" in said("explain", url)
    assert said("sample", "The", "--tokens", "5").startswith("The")
    assert f"{name_of(root)}/report/report.html" in said("report")
    assert storage.read_bytes(root / "report" / "report.html").startswith(b"<!doctype html>")

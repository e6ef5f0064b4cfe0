"""What is read is what the store holds, a condition holds whatever the network does, and the cache never decides."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.exceptions import GenericError

from pipeline.shards import inputs, locations, objects, storage, transfer
from pipeline.shards.locations import location_of, mirror, name_of
from pipeline.shards.outcomes import ConfigError, InputError, StorageError
from tests import stores


@pytest.fixture(scope="module")
def address():
    with stores.server() as found:
        yield found


@pytest.fixture
def root(address, tmp_path):
    """The mirror of a working directory in a new bucket."""
    with stores.bucket(address, tmp_path / "cache") as name:
        yield mirror(f"{name}/some/work")


@pytest.fixture
def elsewhere(root, tmp_path, monkeypatch):
    """Call a function as another machine does, whose cache is its own; it is given the same directory."""

    def call(function):
        with monkeypatch.context() as other:
            other.setenv("WEBTEXT_CACHE", str(tmp_path / "other"))
            return function(mirror(name_of(root)))

    return call


# --- paths


def test_a_path_tells_which_object_it_stands_for(monkeypatch):
    monkeypatch.setenv("WEBTEXT_CACHE", "/cache")
    for name in ("s3://bucket/a/b", "gs://bucket/a/b"):
        assert name_of(mirror(name)) == name_of(mirror(Path(name))) == name
        assert name_of(mirror(mirror(name))) == name
        assert location_of(mirror(name) / "links" / "x.parquet").key == "a/b/links/x.parquet"
    assert mirror("s3://bucket/a") == Path("/cache/s3:/bucket/a")
    for ordinary in ("/data/a:b", "work", "/c/s3", "C:/x", "/data/s3:"):
        assert location_of(Path(ordinary)) is None
        assert name_of(Path(ordinary)) == ordinary == str(mirror(ordinary))
    with pytest.raises(ConfigError, match=r"names no bucket; expected s3://BUCKET/FOLDER"):
        mirror("s3://")


def test_a_message_names_objects_and_not_the_cache(monkeypatch):
    monkeypatch.setenv("WEBTEXT_CACHE", "/cache")
    assert locations.with_addresses(f"{mirror('s3://b/x')}: missing, but {mirror('gs://b/y')} is there") == (
        "s3://b/x: missing, but gs://b/y is there"
    )
    assert locations.deletion(mirror("gs://b/it's")) == "gcloud storage rm 'gs://b/it'\"'\"'s'"


# --- down


def test_what_is_read_is_what_the_store_holds_whoever_wrote_it(root, elsewhere):
    path = root / "a.json"
    storage.write_bytes(path, b"ours")
    elsewhere(lambda there: storage.write_bytes(there / "a.json", b"THEM"))
    assert storage.read_bytes(path) == b"THEM"
    elsewhere(lambda there: storage.remove(there / "a.json"))
    assert not storage.exists(path)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(path)
    assert not path.exists()


def test_what_is_here_as_it_is_there_is_not_fetched_again(root, monkeypatch):
    storage.write_bytes(root / "a.bin", b"same")
    fetched = []
    monkeypatch.setattr(transfer, "download", lambda path, _: fetched.append(path) or path)
    assert storage.read_bytes(root / "a.bin") == b"same"
    assert fetched == []


@pytest.mark.parametrize("damage", ["mark", "bytes"])
def test_a_cache_that_a_kill_left_in_doubt_is_not_believed(root, damage):
    path = root / "a.bin"
    storage.write_bytes(path, b"whole")
    if damage == "mark":
        transfer.mark_of(path).unlink()
        path.write_bytes(b"other")
    else:
        path.write_bytes(b"who")
    assert storage.read_bytes(path) == b"whole"


def test_a_view_says_what_asking_says_and_follows_what_this_process_does(root, elsewhere):
    for name in ("receipts/0.json", "b.bin"):
        storage.write_bytes(root / "links" / name, name.encode())
    asked = {name: storage.exists(root / "links" / name) for name in ("receipts/0.json", "b.bin", "none")}
    transfer.look(root)
    assert {name: storage.exists(root / "links" / name) for name in asked} == asked
    assert storage.names(root / "links", "*") == [root / "links" / "b.bin"]
    storage.remove(root / "links" / "b.bin")
    storage.write_bytes(root / "links" / "c.bin", b"c")
    assert storage.names(root / "links", "*.bin") == [root / "links" / "c.bin"]
    elsewhere(lambda there: storage.write_bytes(there / "links" / "d.bin", b"d"))
    assert not storage.exists(root / "links" / "d.bin")
    transfer.renew(root / "links" / "scratch")
    assert storage.exists(root / "links" / "d.bin")
    objects.forget(root)


NAMES = st.lists(st.text("ab0-./", min_size=1, max_size=5), unique=True, max_size=12)


@settings(max_examples=15, deadline=None)
@given(NAMES, st.text("ab0-.", max_size=3), st.booleans())
def test_what_begins_so_in_a_folder_is_found_among_all_others(address, tmp_path_factory, names, begins, watched):
    keys = {name for name in names if not ({"", ".", ".."} & set(name.split("/")))}
    with stores.bucket(address, tmp_path_factory.mktemp("cache")) as bucket:
        root = mirror(f"{bucket}/work")
        for key in [*(f"f/{key}" for key in keys), f"g/{begins}x"]:
            objects.store(bucket).put(f"work/{key}", b"")
        if watched:
            objects.watch(root)
        try:
            found = {path.name for path in objects.inside(root / "f", begins)}
        finally:
            objects.forget(root)
    assert found == {key for key in keys if "/" not in key and key.startswith(begins)}


@pytest.mark.parametrize("watched", [False, True])
def test_a_shard_s_objects_cost_one_listing_whatever_else_their_folder_holds(address, root, tmp_path, watched):
    counting = stores.Faults(0)
    client = objects.store(location_of(root).bucket)
    for number in range(1_100):
        client.put(f"{location_of(root).key}/segments/{number:05d}-of-01100.00000-1a2b3c4d.parquet", b"")
    with (
        stores.proxy(address, counting) as through,
        stores.bucket(through, tmp_path / "cache", named=location_of(root).bucket.removeprefix("s3://")),
    ):
        if watched:
            objects.watch(root)
        try:
            for shard in (0, 542, 1_099):
                before = counting.seen
                found = storage.names(root / "segments", f"{shard:05d}-of-01100.*.parquet")
                assert [path.name[:5] for path in found] == [f"{shard:05d}"]
                assert counting.seen - before <= (0 if watched else 2)  # the one, and one that the client reads ahead
            storage.remove(found[0])
            assert storage.names(root / "segments", "01099-of-01100.*") == []
        finally:
            objects.forget(root)


@settings(max_examples=40, deadline=None)
@given(
    data=st.binary(max_size=3_000), steps=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 900)), max_size=6)
)
def test_ranges_read_like_a_file(address, tmp_path_factory, data, steps):
    with stores.bucket(address, tmp_path_factory.mktemp("cache")) as name:
        path = mirror(f"{name}/x")
        storage.write_bytes(path, data)
        with storage.reading(path, 256) as there, path.open("rb") as here:
            for offset, count in steps:
                assert there.seek(offset) == here.seek(offset)
                assert there.read(count) == here.read(count)
                assert there.tell() == here.tell()
            assert there.seek(0, os.SEEK_END) == len(data)


# --- up, on a condition


def test_of_many_writers_that_find_nothing_one_wins(root, tmp_path):
    path, won = root / "only.json", []

    def write(number):
        mine = tmp_path / str(number) / path.relative_to(tmp_path / "cache")
        mine.parent.mkdir(parents=True)
        mine.write_bytes(str(number).encode())
        try:
            transfer.put_once(mine)
            won.append(number)
        except transfer.LostError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(won) == 1
    assert storage.read_bytes(path) == str(won[0]).encode()


def test_a_replacement_is_refused_once_another_came_first(root, elsewhere):
    path = root / "a.json"
    storage.write_bytes(path, b"1")
    before = transfer.held(path)
    elsewhere(lambda there: storage.write_bytes(there / "a.json", b"2"))
    path.write_bytes(b"3")
    with pytest.raises(transfer.LostError):
        transfer.put_once(path, before)
    assert storage.read_bytes(path) == b"2"


@pytest.mark.failure("the object store refuses or loses requests", "nothing, as a rule: they are repeated", "nothing")
def test_whatever_happens_to_requests_a_condition_holds_and_every_byte_arrives(address, root, tmp_path):
    faults = stores.Faults(period=3)
    bucket = location_of(root).bucket.removeprefix("s3://")
    with stores.proxy(address, faults) as through, stores.bucket(through, tmp_path / "faulty", bucket):
        here = mirror(name_of(root))
        for number in range(6):
            path = here / f"{number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"first")
            transfer.put_once(path)
            mark = transfer.held(path)
            path.write_bytes(b"second")
            transfer.put_once(path, mark)
            path.write_bytes(b"third")
            with pytest.raises(transfer.LostError):
                transfer.put_once(path, mark)
            assert storage.read_bytes(path) == b"second"
    assert set(faults.met) == set(faults.KINDS)


@pytest.mark.failure("the object store cannot be reached", "exit 7; the line says so", "run it again when it can be")
def test_a_write_that_fails_is_tried_again_after_waits_that_double(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise GenericError("cut")

    waits = []
    with stores.bucket("127.0.0.1:9", tmp_path, "b") as bucket:
        monkeypatch.setattr(transfer, "store", lambda _: SimpleNamespace(put=fails))
        monkeypatch.setattr(transfer, "time", SimpleNamespace(sleep=waits.append))
        with pytest.raises(StorageError):
            transfer.put_bytes_once(mirror(f"{bucket}/x"), b"", "")
    assert waits == [waits[0] * 2**tries for tries in range(transfer.TRIES - 1)]


def test_a_store_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    with stores.bucket("127.0.0.1:9", tmp_path, "nothing") as name:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(
            StorageError,
            match=r"^s3://nothing: nobody can be reached at http://127\.0\.0\.1:9 \(Connection refused\); start it",
        ) as said:
            storage.read_bytes(mirror(f"{name}/x"))
    assert "\n" not in str(said.value)


def test_a_bucket_that_does_not_exist_is_one_line(address, tmp_path):
    with stores.bucket(address, tmp_path, "never-made") as name:
        root = mirror(f"{name}/work")
        for ask in (
            lambda: storage.write_bytes(root / "a", b""),
            lambda: transfer.put_once(root / "a"),
            lambda: transfer.look(root),
        ):
            with pytest.raises(
                StorageError, match=r"^s3://never-made: no such bucket; make it first, or correct the name$"
            ):
                ask()


# --- globs


def test_a_glob_of_objects_means_what_a_glob_of_files_means(root, tmp_path):
    local = tmp_path / "local"
    for name in ("a.gz", "b.gz", "x/c.gz", "x/y/d.gz", "x/[1].gz", "e.txt"):
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(b"")
        storage.write_bytes(root / name, b"")
    for pattern in ("*.gz", "**/*.gz", "x/*.gz", "?.gz", "[ab].gz", "x/[[]1].gz", "[!a].gz", "x/**/d.gz", "e.txt"):
        wanted = [path.relative_to(local) for path in inputs.matching([pattern], local, "pages.warc")]
        for named in (pattern, f"{name_of(root)}/{pattern}"):
            assert [path.relative_to(root) for path in inputs.matching([named], root, "pages.warc")] == wanted
    with pytest.raises(InputError, match=r"pages\.warc: '\*\.zst' matches no file \(from s3://"):
        inputs.matching(["*.zst"], root, "pages.warc")


def test_an_object_that_is_replaced_is_another_input(root):
    storage.write_bytes(root / "a.gz", b"one")
    first = inputs.sha256_of_each([root / "a.gz"], root / inputs.HASHES)
    assert inputs.sha256_of_each([root / "a.gz"], root / inputs.HASHES) == first
    storage.write_bytes(root / "a.gz", b"two")
    assert inputs.sha256_of_each([root / "a.gz"], root / inputs.HASHES) != first


# --- the cache


def test_the_cache_gives_up_what_nobody_uses_and_it_comes_back(root):
    for name in ("old", "new"):
        storage.write_bytes(root / name, name.encode() * 100)
    os.utime(transfer.mark_of(root / "old"), (1_000, 1_000))
    assert locations.trim(limit=10_000) == 0
    assert locations.trim(limit=10) == 300
    assert not (root / "old").exists()
    assert (root / "new").exists()  # somebody may be about to read it
    assert storage.read_bytes(root / "old") == b"old" * 100


def test_a_process_looks_at_its_cache_once_a_minute_however_many_tasks_it_has(monkeypatch):
    looks, clock = [], iter([1_000.0, 1_000.0, 1_030.0, 1_059.0, 1_061.0, 1_061.0, 1_062.0])
    monkeypatch.setattr(locations, "trim", lambda: looks.append(1) or 7)
    monkeypatch.setattr(locations, "_trimmed", [0.0])
    monkeypatch.setattr(locations, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert [locations.trim_if_due() for _ in range(4)] == [7, 0, 0, 0]
    assert len(looks) == 1
    assert locations.trim_if_due() == 7


def test_the_size_of_the_cache_is_a_number(monkeypatch):
    for said, meant in (("", locations.MOST_BYTES), ("1000", 1000), ("5e9", 5 * 10**9)):
        monkeypatch.setenv("WEBTEXT_CACHE_BYTES", said)
        assert locations.most_bytes() == meant
    monkeypatch.setenv("WEBTEXT_CACHE_BYTES", "50 GB")
    with pytest.raises(ConfigError, match="is '50 GB'; expected a number of bytes"):
        locations.trim()


def test_a_folder_is_the_same_there_and_here_after_it_was_sent_and_brought(root, elsewhere):
    folder = root / "model"
    for name in ("step-1/w.bin", "step-1/checkpoint.json", "step-2/w.bin", "log.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    transfer.send(folder)
    (folder / "step-1" / "w.bin").unlink()
    (folder / "step-1" / "checkpoint.json").unlink()
    (folder / "log.jsonl").write_bytes(b"longer by one line")
    transfer.send(folder)

    def files(there):
        transfer.bring(there / "model")
        found = (path for path in (there / "model").rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(there / "model")): path.read_bytes() for path in found}

    wanted = {"step-2/w.bin": b"step-2/w.bin", "log.jsonl": b"longer by one line"}
    assert elsewhere(files) == files(root) == wanted
    assert not (folder / "step-1" / "w.bin").exists()

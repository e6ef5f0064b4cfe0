"""Who cannot be asked is named within seconds, with the address and the cure."""

import http.server
import socket
import threading

import pytest

from pipeline.shards import objects, reach, storage, transfer
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import ConfigError, StorageError
from pipeline.shards.receipts import Task
from pipeline.shards.runner import BeamRun
from tests import stores

KEYS = [name for names in (*reach.KEYS["s3"], *reach.KEYS["gs"]) for name in names]


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment that names no store and nobody who asks, on a machine of no cloud."""
    for name in (*KEYS, "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ALLOW_HTTP", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path / "cache"))
    for name in reach.METADATA_NAMES.values():
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed()}")
    objects.store.cache_clear()
    yield monkeypatch
    objects.store.cache_clear()


def closed():
    """A port of this machine at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers every request with one status and some headers."""

    def answer(self):
        status, headers = self.server.says
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = answer  # noqa: N815 - what http.server looks for

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    running.says = (200, {})
    yield running
    running.shutdown()
    running.server_close()


def said(error, ask):
    with pytest.raises(error) as failure:
        ask()
    assert "\n" not in str(failure.value)
    assert "169.254" not in str(failure.value)
    return str(failure.value)


@pytest.mark.failure("no credentials for an object store", "exit 2; the line names what to set", "set it")
@pytest.mark.parametrize(("bucket", "cure"), [("s3://b", "set AWS_ACCESS_KEY_ID"), ("gs://b", "run: gcloud auth")])
def test_a_store_that_nobody_in_particular_asks_is_refused_with_what_to_set(bare, bucket, cure):
    line = said(ConfigError, lambda: transfer.look(mirror(f"{bucket}/work")))
    assert line.startswith(f"{bucket}: no credentials for it; {cure}")


def test_credentials_of_any_kind_are_enough(bare, tmp_path):
    assert not reach.has_credentials("s3")
    assert not reach.has_credentials("gs")
    for kind, kinds in reach.KEYS.items():
        for names in kinds:
            with bare.context() as some:
                for name in names:
                    some.setenv(name, "x")
                assert reach.has_credentials(kind)
    with socket.create_server(("127.0.0.1", 0)) as service:
        bare.setenv("AWS_METADATA_ENDPOINT", "http://{}:{}".format(*service.getsockname()))
        assert reach.has_credentials("s3")
    (tmp_path / reach.GCLOUD).parent.mkdir(parents=True)
    (tmp_path / reach.GCLOUD).write_text("{}")
    assert reach.has_credentials("gs")


@pytest.mark.failure(
    "a store that speaks plain HTTP (MinIO)", "exit 2; the line names the setting", "AWS_ALLOW_HTTP=true"
)
def test_plain_http_is_spoken_only_when_it_is_allowed(bare):
    bare.setenv("AWS_ACCESS_KEY_ID", "x")
    bare.setenv("AWS_SECRET_ACCESS_KEY", "x")
    bare.setenv("AWS_ENDPOINT_URL", "http://minio.test:9000")
    wanted = "s3://b: http://minio.test:9000 is plain HTTP; to speak it, set AWS_ALLOW_HTTP=true"
    assert said(ConfigError, lambda: storage.read_bytes(mirror("s3://b/x"))) == wanted


def test_an_address_of_nobody_is_named(bare):
    with stores.bucket(f"127.0.0.1:{closed()}", bare.undo and "unused", "b") as name:
        line = said(StorageError, lambda: storage.read_bytes(mirror(f"{name}/x")))
    assert line.startswith("s3://b: nobody can be reached at http://127.0.0.1:")
    assert line.endswith("(Connection refused); start it, or correct AWS_ENDPOINT")


@pytest.mark.failure("a bucket in another region", "exit 2; the line names the region", "set AWS_REGION")
@pytest.mark.parametrize(
    ("status", "headers", "error", "line"),
    [
        (301, {"x-amz-bucket-region": "eu-west-3"}, ConfigError, "it lies in another region; set AWS_REGION=eu-west-3"),
        (400, {"x-amz-bucket-region": "eu-west-3"}, ConfigError, "it lies in another region; set AWS_REGION=eu-west-3"),
        (301, {}, ConfigError, "sends elsewhere; set AWS_REGION to the bucket's own"),
        (403, {}, StorageError, "not allowed (403); check the credentials"),
        (404, {}, StorageError, "no such bucket; make it first, or correct the name"),
    ],
)
def test_what_a_store_answers_is_told_with_its_cure(server, tmp_path, status, headers, error, line):
    server.says = status, headers
    with stores.bucket(f"127.0.0.1:{server.server_address[1]}", tmp_path, "b") as name:
        assert line in said(error, lambda: transfer.look(mirror(f"{name}/work")))


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_bucket_in_the_region_that_is_set_is_refused_for_another_reason(server, tmp_path, monkeypatch, name):
    server.says = 403, {"x-amz-bucket-region": "eu-west-3"}
    with stores.bucket(f"127.0.0.1:{server.server_address[1]}", tmp_path, "b") as bucket:
        for other in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(other, raising=False)
        assert "set AWS_REGION=eu-west-3" in str(reach.diagnosis(bucket, "403 Forbidden"))
        monkeypatch.setenv(name, "eu-west-3")
        assert "not allowed (403)" in str(reach.diagnosis(bucket, "403 Forbidden"))


def test_that_a_stranger_is_refused_tells_nothing_of_another_failure(server, tmp_path):
    server.says = 403, {}
    with stores.bucket(f"127.0.0.1:{server.server_address[1]}", tmp_path, "b") as bucket:
        assert reach.diagnosis(bucket, "the body was cut short") is None


@pytest.mark.failure(
    "`--job_endpoint` of nobody", "exit 2; the line names the address", "start the service, or correct it"
)
def test_a_job_service_of_nobody_is_told_at_once():
    address = f"127.0.0.1:{closed()}"
    for runner in ("PortableRunner", "FlinkRunner"):
        line = said(ConfigError, lambda runner=runner: BeamRun(runner, 1, (f"--job_endpoint={address}",)))
        assert line.startswith(f"--job_endpoint={address}: nobody can be reached (Connection refused); start the job")
    assert "not an address" in said(ConfigError, lambda: BeamRun("PortableRunner", 1, ("--job_endpoint=localhost",)))


def test_somebody_else_at_the_job_service_is_told(server, tmp_path):
    options = (
        f"--job_endpoint=127.0.0.1:{server.server_address[1]}",
        "--job_server_timeout=1",
        "--environment_type=LOOPBACK",
    )
    run = BeamRun("PortableRunner", 1, options, tmp_path)
    line = said(ConfigError, lambda: run.map_shards(print, [Task(0, "a")]))
    assert line.startswith("PortableRunner: the job was not taken: ")


@pytest.mark.failure(
    "Flink without its jar, or without Java", "exit 2; the line says what is missing", "install or name it"
)
def test_a_job_service_that_cannot_be_started_is_told_at_once(monkeypatch, tmp_path):
    line = said(ConfigError, lambda: BeamRun("FlinkRunner", 1, ("--flink_job_server_jar=/nowhere/flink.jar",)))
    assert line.startswith("--flink_job_server_jar=/nowhere/flink.jar: no such file")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for runner in ("FlinkRunner", "SparkRunner"):
        assert "started by Java, and none is found" in said(ConfigError, lambda runner=runner: BeamRun(runner, 1))

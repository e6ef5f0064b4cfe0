"""What can be known of docker/compose.yaml without Docker: that its parts fit each other, the lock and the commands."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions

from pipeline.cli.options import stage_and_options
from pipeline.shards.runner import BeamRun
from tests.lock import LOCKED

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker" / "compose.yaml").read_text("utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]


def commands():
    """The commands of the head of the file and of the pages that name it, each as words."""
    pages = [TEXT, *(path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])]
    for page in pages:
        joined = re.sub(r"\\\n#?", " ", page)
        for line in re.findall(r"docker compose -f docker/compose\.yaml ([^`#\n]*)", joined):
            yield shlex.split(line)


def builds():
    """Of these, what `webtext build` is given."""
    for words in commands():
        if "build" in words and words[0] == "run":
            yield words[words.index("build") + 1 :]


def ports(service):
    """The ports that a service listens on, as its command and the programs' documentation say."""
    known = {"jobmanager": {8081}, "workers": {50000}}
    said = (re.fullmatch(r"--(?:job|artifact)-port=(\d+)", word) for word in SERVICES[service].get("command", ()))
    return known.get(service, set()) | {int(one[1]) for one in said if one}


def test_every_image_has_an_exact_version_or_is_built_here():
    for name, service in SERVICES.items():
        if "build" in service:
            dockerfile = ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]
            assert dockerfile.is_file(), name
            assert service["image"] == "webtext-worker"
        else:
            assert re.search(r":[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9._-]+)?$", service["image"]), name


def test_job_server_flink_and_beam_are_of_versions_that_fit():
    flink, beam = re.fullmatch(r"apache/beam_flink(.*)_job_server:(.*)", SERVICES["jobserver"]["image"]).groups()
    assert beam == LOCKED["apache-beam"]
    assert flink in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    for name in ("jobmanager", "taskmanager"):
        assert SERVICES[name]["image"].startswith(f"flink:{flink}.")


def test_every_service_and_volume_named_is_there():
    for service in SERVICES.values():
        mode = service.get("network_mode", "")
        assert {*service.get("depends_on", ()), *mode.split("service:")[1:]} <= set(SERVICES)
        for volume in service.get("volumes", ()):
            source = volume.rpartition(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith(("/", ".", "${"))
    assert SERVICES["jobmanager"]["environment"]["FLINK_PROPERTIES"].startswith("jobmanager.rpc.address: jobmanager\n")
    assert "--flink-master=jobmanager:8081" in SERVICES["jobserver"]["command"]


def test_who_has_to_share_a_folder_does():
    def shared(*names):
        return set.intersection(*(set(SERVICES[name]["volumes"]) for name in names))

    assert [volume.endswith(":/work") for volume in shared("webtext", "workers")] == [True]
    (staged,) = shared("jobserver", "taskmanager")
    assert f"--artifacts-dir={staged.partition(':')[2]}" in SERVICES["jobserver"]["command"]
    assert SERVICES["webtext"]["user"] == SERVICES["workers"]["user"]


def test_nothing_listens_beyond_this_machine():
    for service in SERVICES.values():
        assert [port for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")] == []


def test_the_commands_name_services_that_are_there():
    assert {words[0] for words in commands()} >= {"up", "run", "down"}
    for words in commands():
        if words[0] == "run":
            assert next(word for word in words[1:] if not word.startswith("-")) == "webtext"
    assert SERVICES["webtext"]["entrypoint"] == ["webtext"]


@pytest.mark.parametrize("words", list(builds()), ids=" ".join)
def test_the_builds_reach_what_listens_and_have_options_that_beam_knows(words, monkeypatch):
    monkeypatch.setattr("pipeline.shards.reach.unreachable", lambda _address: "")  # names of the compose file's network
    assert words[:2] == ["--dir", "/work"]
    assert words[2] == "--runner"
    _, options = stage_and_options(words[4:])
    assert BeamRun(words[3], 1, options).options == options
    parsed = PipelineOptions(list(options))
    assert set(parsed.get_all_options(retain_unknown_options=True)) == set(parsed.get_all_options())
    beam = parsed.view_as(PortableOptions)
    for endpoint in (beam.job_endpoint, beam.artifact_endpoint):
        host, _, port = endpoint.partition(":")
        assert int(port) in ports(host)
    assert beam.environment_type == "EXTERNAL"
    host, _, port = beam.environment_config.partition(":")
    assert (host, int(port) in ports("workers")) == ("localhost", True)
    assert SERVICES["workers"]["network_mode"] == "service:taskmanager"  # so that this is the taskmanager's localhost


def test_a_build_is_documented():
    assert len(list(builds())) >= 1


def test_a_job_is_as_wide_as_there_are_slots():
    properties = SERVICES["taskmanager"]["environment"]["FLINK_PROPERTIES"]
    slots = re.search(r"numberOfTaskSlots: (\d+)", properties)[1]
    assert {word for words in builds() for word in words if word.startswith("--parallelism")} == {
        f"--parallelism={slots}"
    }

"""The arithmetic of each stage, with values."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.build import STAGES
from pipeline.config import Settings
from pipeline.verbs.plan.costs import Code, Costs, Web
from pipeline.verbs.plan.estimate import COSTS, distinct, planned
from pipeline.verbs.plan.machines import Machines
from pipeline.verbs.plan.probe import Probe
from tests.verbs.plan.probes import HERE, captures, manifest, submissions, texts

PROBE = Probe(submissions(), captures(), texts())
QUANTITIES = ("read_bytes", "shuffled_bytes", "disk_bytes", "scratch_bytes", "memory_bytes", "cpu_s", "seconds")


def settings(**build):
    plain = Settings()
    return msgspec.structs.replace(plain, build=msgspec.structs.replace(plain.build, **build))


def stages(probe=PROBE, chosen=None, machines=HERE, costs=None):
    plan = planned(probe, chosen or settings(workers=2), costs or Costs(), machines)
    return {one.name: one for one in plan.stages}


def test_every_stage_has_its_costs_in_order():
    assert tuple(COSTS) == STAGES == tuple(stages())


def test_links_cost_what_their_lines_and_posts_do():
    one = stages(costs=Costs(code=Code(start_s=1, line_s=0.001, post_s=0.01)))["links"]
    assert one.cpu_s == pytest.approx(1 + 2 + 15)
    assert one.read_bytes == 100_000
    assert one.shuffled_bytes == 2 * 1_500 * 100  # every post crosses twice
    assert (one.disk_bytes, one.scratch_bytes) == (1_200 * 80, 1_500 * 60)


def test_memory_of_links_does_not_grow_for_ever():
    code = Code(start_memory=100, post_memory=1, links_memory=50)
    small, large = (
        stages(Probe(submissions(posts=posts)), costs=Costs(code=code))["links"].memory_bytes for posts in (10.0, 1e9)
    )
    assert (small, large) == (110, 150)


def test_documents_cost_what_the_probe_measured():
    one = stages(costs=Costs(code=Code(start_s=1, worker_s=2)))["documents"]
    assert one.cpu_s == pytest.approx(1 + 2 * 2 + 400 * 0.01)
    assert one.read_bytes == 400 * 10_000
    assert one.seconds == pytest.approx(one.cpu_s / 2)  # two workers


def test_without_pages_a_page_costs_what_the_benchmark_measured():
    seen = Probe(submissions(), captures(), texts(cpu_s=None))
    code = Code(start_s=0, worker_s=0, page_s=0.5)
    assert stages(seen, costs=Costs(code=code))["documents"].cpu_s == pytest.approx(400 * 0.5)


@pytest.mark.parametrize(("entries", "bytes_each"), [(50_257, 2), (65_537, 4)])
def test_ids_lie_in_two_bytes_or_in_four(entries, bytes_each):
    chosen = msgspec.structs.replace(
        settings(), tokenizer=msgspec.structs.replace(Settings().tokenizer, vocab_size=entries)
    )
    code = Code(row_bytes=0, token_bytes=4.0)
    one = stages(chosen=chosen, costs=Costs(code=code))["tokens"]
    text = one.rows * 1_000
    assert one.disk_bytes == pytest.approx(text / 4 * bytes_each, rel=0.03)  # a larger vocabulary has longer tokens


def test_a_smaller_vocabulary_makes_more_tokens():
    small, usual = (
        msgspec.structs.replace(settings(), tokenizer=msgspec.structs.replace(Settings().tokenizer, vocab_size=size))
        for size in (4_096, 50_257)
    )
    assert stages(chosen=small)["tokens"].disk_bytes > stages(chosen=usual)["tokens"].disk_bytes


def test_distinct_pre_tokens_grow_by_heaps_law():
    code = Code(heaps_k=2.0, heaps_beta=0.5)
    assert distinct(10_000, code) == 200
    assert distinct(0, code) == 0


def test_what_stands_costs_nothing():
    made = {"links": manifest("links", submissions=(70, 60), links=(50, 40))}
    one = stages(replace(PROBE, made=made))["links"]
    assert one.made
    assert (one.rows_in, one.rows) == (60, 40)
    assert all(getattr(one, name) == 0 for name in QUANTITIES)


def test_a_crawl_writes_its_pages_and_takes_its_queues():
    one = stages(Probe(submissions(), crawls=True), costs=Costs(code=Code(request_s=0.0)))["pages"]
    assert one.disk_bytes > one.rows * Costs().web.page_bytes
    assert one.requests > 1_000
    assert one.seconds > 900 * Settings().pages.gap_s  # the links of a.test


def test_what_files_lack_is_fetched():
    one = stages(Probe(submissions(), captures(), crawls=True), costs=Costs(Web(found=0.5, page_bytes=1_000)))["pages"]
    assert one.rows == pytest.approx(400 + 300)
    assert one.read_bytes == pytest.approx(10_000_000 + 300 * 1_000)


@pytest.mark.parametrize(
    ("documents", "shards", "measured"), [(250_000, 400, 437e6), (500_000, 25, 581e6), (1_000_000, 50, 578e6)]
)
def test_memory_of_corpus_is_what_was_measured_within_a_factor_of_two(documents, shards, measured):
    counts = (documents, documents)
    books = {"links": {"submissions": counts, "links": counts}, "pages": {"pages": counts}}
    made = {name: manifest(name, **book) for name, book in (books | {"documents": {"documents": counts}}).items()}
    held = stages(Probe(texts=texts(), made=made), settings(shards=shards))["corpus"].memory_bytes
    assert measured / 2 < held < 2 * measured


def test_wikipedia_is_read_once_and_its_8_grams_are_held():
    nothing = dict.fromkeys(("corpus_memory", "node_memory", "candidate_memory", "corpus_start_s", "judge_s"), 0)
    code = Code(**nothing, dump_memory=10, dump_s=0.5)
    one, made = (
        stages(replace(PROBE, **known), costs=Costs(code=code))["corpus"]
        for known in ({"dump_bytes": 100}, {"reference_bytes": 700})
    )
    assert (one.memory_bytes, one.cpu_s) == (1_000, 50)
    assert (made.memory_bytes, made.cpu_s) == (700, 0)
    assert made.shard_memory_bytes == 700  # in every process that votes


def test_a_crawl_of_many_hosts_is_shared_by_the_crawls_of_a_service():
    many = {f"h{number}.test": 100.0 for number in range(40_000)}
    probe = Probe(submissions(hosts=many), crawls=True)
    chosen = settings(shards=8)
    here = stages(probe, chosen)["pages"].seconds
    there = stages(probe, chosen, Machines(2, 4, 8e9, service=True), Costs(code=Code(boot_s=0)))["pages"].seconds
    assert there == pytest.approx(here / 8, rel=0.2)


@pytest.mark.parametrize(("cpu_s", "seconds"), [(10, 10), (30, 20), (100, 50)])
def test_at_home_long_work_is_shared_by_all_cores_and_short_work_by_none(cpu_s, seconds):
    code = Code(start_s=cpu_s, encode_s=0, corpus_start_s=cpu_s, judge_s=0)
    found = stages(machines=replace(HERE, workers=1, vcpus=2), costs=Costs(code=code))
    assert found["tokens"].seconds == pytest.approx(seconds)
    assert found["corpus"].seconds == pytest.approx(cpu_s)


def test_machines_that_wait_are_paid_for():
    machines = Machines(workers=10, vcpus=4, memory_bytes=8e9, service=True)
    plan = planned(PROBE, settings(shards=4), Costs(code=Code(boot_s=3_600)), machines)
    assert plan.vcpu_hours == pytest.approx(plan.seconds / 3_600 * 40)
    assert plan.seconds > len(STAGES) * 3_600


def test_shards_are_advised_of_20_000_links():
    assert planned(Probe(submissions(hosts={"a.test": 1e6})), settings(), Costs(), HERE).shards == 50


@given(st.floats(1, 1e8), st.floats(1, 50))
def test_more_links_never_cost_less(links, factor):
    less, more = (
        stages(Probe(submissions(rows=one, posts=one, links=one, hosts={"a.test": one}), crawls=True))
        for one in (links, links * factor)
    )
    assert all(getattr(less[stage], name) <= getattr(more[stage], name) for stage in STAGES for name in QUANTITIES)

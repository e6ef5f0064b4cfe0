"""What a person sees of a run: progress read from what lies in the folder."""

from pipeline.console import Reporter


def shown(reporter):
    (task,) = reporter.bars.tasks
    return task.description, task.completed, task.total, task.fields["crawled"]


def test_a_bar_tells_shards_that_are_whole_and_of_a_crawl_its_segments_too(tmp_path):
    for name in ("pages/receipts/00000-of-00004.json", "pages/segments/00001-of-00004.00000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    reporter = Reporter(tmp_path, 4)
    reporter.started("pages")
    reporter.since = 0.0
    reporter.look()
    assert shown(reporter) == ("pages", 1, 4, "1 segments crawled")
    reporter.since = 2.0**40
    reporter.look()
    assert shown(reporter) == ("pages", 0, 4, "")


def test_other_stages_have_no_segments(tmp_path):
    reporter = Reporter(tmp_path, 4)
    reporter.started("corpus")
    reporter.look()
    assert shown(reporter) == ("corpus", 0, 4, "")

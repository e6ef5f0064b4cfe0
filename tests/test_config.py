"""The config file is read strictly, and its mistakes are named."""

import re
import tomllib
from pathlib import Path

import pytest

from pipeline import config
from pipeline.shards.outcomes import ConfigError

TEMPLATE = Path(config.__file__).with_name("webtext.toml")


def test_the_commented_file_says_exactly_the_defaults():
    text = TEMPLATE.read_text()
    assert config.parse(tomllib.loads(text)) == config.Settings()
    tables = tomllib.loads(re.sub(r"(?m)^# (\w+ = )", r"\1", text))  # and what follows the preset
    assert config.parse(tables) == config.Settings()
    for name in config.Settings.__struct_fields__:
        known = set(getattr(config.Settings(), name).__struct_fields__)
        assert known - set(tables[name]) <= {"local_hosts"}, name


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"links": {"karmaa": 3}}, "links.karmaa: unknown key; did you mean 'karma'?"),
        ({"likns": {}}, "[likns]: unknown table; did you mean 'links'?"),
        ({"links": {"bigquery": "a.b.c` --"}}, 'links.bigquery: expected "project.dataset.table"'),
        ({"links": {"bigquery_days": ["2013-08-01", "x"]}}, "links.bigquery_days: expected days as"),
        ({"links": 3}, "links: expected a table [links], got 3"),
        ({"links": {"karma": "x"}}, "links.karma: Expected `int`, got `str`"),
        ({"tokens": {"val_share": 2}}, "tokens.val_share: Expected `float` <= 1.0"),
        ({"corpus": {"bands": 30}}, "corpus.bands x corpus.rows = 180 is more than"),
        ({"pages": {"local_hosts": {"a.test": "here"}}}, "pages.local_hosts.a.test: expected"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tables, said):
    with pytest.raises(ConfigError) as failure:
        config.parse(tables)
    assert str(failure.value).startswith(said)
    assert "\n" not in str(failure.value)


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path):
    path = tmp_path / "webtext.toml"
    with pytest.raises(ConfigError, match="'webtext init' writes one"):
        config.load(path)
    path.write_text("karma = = 3")
    with pytest.raises(ConfigError, match="not TOML"):
        config.load(path)


def test_a_preset_brings_what_the_file_does_not_say(tmp_path):
    path = tmp_path / "webtext.toml"
    path.write_bytes(TEMPLATE.read_bytes())
    laptop = config.BROUGHT["train", "preset", "laptop"]
    train = config.load(path, ["train.preset=laptop"]).train
    assert {name: getattr(train, name) for name in laptop} == laptop
    assert train.warmup_steps < train.steps
    train = config.load(path, ["train.preset=laptop", "train.steps=7"]).train
    assert (train.steps, train.block) == (7, laptop["block"])
    path.write_text('[train]\npreset = "laptop"\nblock = 64\n')
    train = config.load(path).train
    assert (train.steps, train.block) == (laptop["steps"], 64)
    assert config.load(path, ["train.preset=nano"]).train.steps == config.TrainSettings().steps


def test_of_a_short_run_a_tenth_warms_up(tmp_path):
    path = tmp_path / "webtext.toml"
    path.write_bytes(TEMPLATE.read_bytes())
    for steps, warmup in ((1, 0), (20, 2), (500, 50), (7_000, 700), (100_000, 700)):
        assert config.load(path, [f"train.steps={steps}"]).train.warmup_steps == warmup
    assert config.load(path, ["train.steps=20", "train.warmup_steps=19"]).train.warmup_steps == 19
    with pytest.raises(ConfigError, match=r"train\.steps"):
        config.load(path, ["train.steps=-5"])


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (20, 2), (399, 39), (400, 40), (4_000, 40)])
def test_of_a_short_run_of_a_preset_a_tenth_warms_up_too(tmp_path, steps, warmup):
    path = tmp_path / "webtext.toml"
    path.write_bytes(TEMPLATE.read_bytes())
    short = ["train.preset=laptop", f"train.steps={steps}"]
    assert config.load(path, short).train.warmup_steps == warmup
    assert config.load(path, [*short, "train.warmup_steps=3"]).train.warmup_steps == 3


def test_containment_brings_bands_that_find_excerpts(tmp_path):
    path = tmp_path / "webtext.toml"
    path.write_bytes(TEMPLATE.read_bytes())
    corpus = config.load(path, ["corpus.measure=containment"]).corpus
    assert (corpus.bands, corpus.rows) == (42, 3)
    corpus = config.load(path, ["corpus.measure=containment", "corpus.bands=10"]).corpus
    assert (corpus.bands, corpus.rows) == (10, 3)
    assert config.load(path).corpus.bands == 21


def test_the_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "webtext.toml"
    path.write_text("[links]\nkarma = 4\n")
    settings = config.load(path, ["links.karma=5", "build.runner=DataflowRunner", "corpus.languages=[]"])
    assert (settings.links.karma, settings.build.runner, settings.corpus.languages) == (5, "DataflowRunner", ())
    with pytest.raises(ConfigError, match=r"expected SECTION\.KEY=VALUE"):
        config.load(path, ["karma=5"])


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("train.preset=laptpo", r"train\.preset: Invalid enum value 'laptpo'; did you mean 'laptop'\?"),
        ("corpus.redact=['mail']", r"corpus\.redact\[.*\]: Invalid enum value 'mail'; did you mean 'email'\?"),
        ("train.device=tpu", r"train\.device: Invalid enum value 'tpu'; (known: auto, cpu, cuda|did you mean 'cpu'\?)"),
    ],
)
def test_a_value_that_is_none_of_few_is_told_which_there_are(tmp_path, assignment, said):
    path = tmp_path / "webtext.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match=said):
        config.load(path, [assignment])


def test_a_config_that_cannot_be_opened_is_told_in_words(tmp_path):
    (tmp_path / "webtext.toml").mkdir()
    with pytest.raises(ConfigError, match=r"webtext\.toml: cannot be read: Is a directory$"):
        config.load(tmp_path / "webtext.toml")

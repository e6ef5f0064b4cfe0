from importlib import resources

import pytest

from pipeline.shards.outcomes import ConfigError, InputError
from pipeline.text.rules import Rule, read_rules
from pipeline.text.signals import SIGNALS


def test_every_packaged_file_of_rules_is_read_and_names_its_source(tmp_path):
    folder = resources.files("pipeline") / "data" / "rules"
    names = [one.name.removesuffix(".txt") for one in folder.iterdir()]
    assert sorted(names) == ["c4", "fineweb", "gopher", "webtext"]
    for name in names:
        assert len(read_rules([name], tmp_path, SIGNALS)) >= 3
        assert " et al. 20" in (folder / f"{name}.txt").read_text()


def test_a_file_of_rules_is_read_line_by_line(tmp_path):
    (tmp_path / "mine").write_text("# mine\nword_count>=1_000 # long ones\n\nsymbol_ratio <= .5\n")
    expected = (Rule("word_count", ">=", 1000.0), Rule("symbol_ratio", "<=", 0.5))
    assert read_rules(["mine"], tmp_path, SIGNALS) == expected
    assert list(map(str, expected)) == ["word_count >= 1000", "symbol_ratio <= 0.5"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("word_count > 5", "mine, line 2: 'word_count > 5' is no rule; expected: signal <= number"),
        ("word_cuont >= 5", "mine, line 2: 'word_cuont' is no signal of documents; the nearest is 'word_count'"),
        ("word_count >= many", "is no rule"),
    ],
)
def test_a_line_that_is_no_rule_is_named_with_its_number(tmp_path, line, said):
    (tmp_path / "mine").write_text(f"\n{line}\n")
    with pytest.raises(ConfigError) as failure:
        read_rules(["mine"], tmp_path, SIGNALS)
    assert said in str(failure.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="'goper' is none of webtext, gopher, c4 and fineweb, nor a file"):
        read_rules(["goper"], tmp_path, SIGNALS)


@pytest.mark.parametrize(
    ("sign", "value", "refused"),
    [
        ("<=", 3, False),
        ("<=", 3.01, True),
        (">=", 3, False),
        (">=", 2.99, True),
        (">=", float("nan"), True),
        ("<=", None, False),
    ],
)
def test_a_bound_itself_is_allowed_no_number_is_not_and_what_a_script_lacks_refuses_nothing(sign, value, refused):
    assert Rule("word_count", sign, 3.0).refuses(value) is refused

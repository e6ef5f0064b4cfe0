import re

from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.names import BIT, NAMES, PATTERNS, looks


@given(st.lists(st.sampled_from([
    "nav", "navbar", "tab", "tabs", "tabular", "table", "ads", "ad", "adx", "time", "times", "tag", "toc", "body",
    "body-class", "bodyclass", "column-right", "columnleft", "sign-up", "signup", "side-", "more-", "post", "-", "_",
    " ", "0", "Entry", "x", "sr-only",
])).map("".join))  # fmt: skip
def test_the_bits_of_a_class_are_those_of_its_patterns(names):
    patterns = {name: "|".join(runs.split()) for name, runs in NAMES.items()}
    for name, pattern in PATTERNS.items():
        patterns[name] += f"|{pattern}"
    expected = sum(BIT[name] for name, pattern in patterns.items() if re.search(pattern, names.lower()))
    assert looks(names, "", "")[0] == looks("", names, "")[0] == expected

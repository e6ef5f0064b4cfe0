import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.main_text import model
from pipeline.text.trees import CERTAIN, ROWS, SCALE, Trees, load, log_odds, probabilities

SMALL = Trees(
    "made here", ("a", "b"), 512, ((0, 1), (1, 1)), ((0.5, 2.0), (-1.0, 1.0)), ((0, 10, 200, 3000), (1, 2, 3, 4))
)


def slow_log_odds(model, row):
    """One row, one tree, one question at a time."""
    total = model.start
    for feature, threshold, leaf in zip(model.feature, model.threshold, model.leaf, strict=True):
        number = 0
        for level, (column, bound) in enumerate(zip(feature, threshold, strict=True)):
            number += (row[column] > np.float32(bound)) << level
        total += leaf[number]
    return total


@given(st.lists(st.tuples(*[st.sampled_from([-2.0, -1.0, 0.0, 0.5, 0.6, 1.0, 2.0, 2.5])] * 2), min_size=1))
def test_trees_answer_as_one_question_at_a_time_does(rows):
    table = np.array(rows, np.float32).T
    assert log_odds(SMALL, table).tolist() == [slow_log_odds(SMALL, row) for row in table.T]


def test_probabilities_are_those_of_the_log_odds_in_any_number_of_rows():
    columns = {"b": np.resize(np.float32([3, 0]), ROWS + 3), "a": np.zeros(ROWS + 3, np.float32), "unused": np.zeros(1)}
    found = probabilities(SMALL, columns)
    sure, unsure = (512 + 200 + 4) / SCALE, (512 + 0 + 2) / SCALE
    assert found.tolist() == np.resize([round(CERTAIN / (1 + np.exp(-x))) for x in (sure, unsure)], ROWS + 3).tolist()


def test_a_file_that_is_no_model_is_refused():
    with pytest.raises(msgspec.ValidationError):
        load(b'{"about": "nothing else"}')


def test_the_shipped_model_is_whole_and_says_where_it_came_from():
    shipped = model()
    trees, depth = len(shipped.feature), len(shipped.feature[0])
    assert len(shipped.threshold) == len(shipped.leaf) == trees
    assert {len(leaf) for leaf in shipped.leaf} == {2**depth}
    assert {len(some) for some in (*shipped.feature, *shipped.threshold)} == {depth}
    assert "creativecommons.org/licenses/by/4.0" in shipped.about

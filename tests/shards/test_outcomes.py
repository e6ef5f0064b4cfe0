"""The one list of fates and failures."""

from pipeline.shards import outcomes
from pipeline.shards.outcomes import EXIT_CODES, FATES, Outcome, WebTextError


def test_every_kind_of_failure_has_an_exit_code_of_its_own_and_is_listed():
    kinds = [one for one in vars(outcomes).values() if isinstance(one, type) and issubclass(one, WebTextError)]
    codes = [one.exit_code for one in kinds if one.exit_code]
    assert len(set(codes)) == len(codes)
    assert set(codes) <= set(EXIT_CODES)
    assert outcomes.DryRun.exit_code == 0


def test_every_fate_is_named_once_a_set_of_books_and_has_a_meaning():
    for stage, fates in FATES.items():
        assert len(set(fates)) == len(fates), stage
    assert all(one.meaning for one in Outcome)

import re

import pytest

from pipeline.demo import replies, site, traps
from pipeline.demo.prose import Passage
from pipeline.shards.outcomes import FATES, Outcome
from pipeline.text.extract import extract
from pipeline.text.signals import signals
from pipeline.urls import canonical_url

# Fates that no page of a crawled demo can meet: they belong to a user's lists, to WARC files, to TLS, to `remove`, to
# options, to a fault of ours, or cost minutes.
NOT_SHOWN = {
    "links": {Outcome.BLOCKED_DOMAIN, Outcome.BLOCKED_SUBREDDIT, Outcome.REMOVED},
    "pages": {
        Outcome.NOT_IN_WARC,
        Outcome.BAD_RECORD,
        Outcome.TLS_ERROR,
        Outcome.HOST_AWAY,
        Outcome.HOST_LIMIT,
        Outcome.FAULT,
        Outcome.REMOVED,
        Outcome.BLOCKED_DOMAIN,
    },
    "documents": {Outcome.EXTRACT_TIMED_OUT, Outcome.EXTRACT_MEMORY, Outcome.EXTRACT_CRASHED, Outcome.REMOVED},
    "corpus": {Outcome.CONTAMINATED, Outcome.WIKIPEDIA_HOST, Outcome.DUPLICATE_ELSEWHERE},
}
READ = [trap for trap in traps.TRAPS if trap.stage in ("documents", "corpus") and trap.reply is not None]


def trap(name):
    (found,) = [trap for trap in traps.TRAPS if trap.name == name]
    return found


def words(passage):
    return re.findall(r"\w+", " ".join(passage.paragraphs).lower())


def grams(words, n):
    return {tuple(words[k : k + n]) for k in range(len(words) - n + 1)}


def jaccard(left, right):
    return len(left & right) / len(left | right)


def test_every_trap_has_a_name_and_an_address_of_its_own_and_a_fate_of_its_stage():
    assert len({trap.name for trap in traps.TRAPS}) == len(traps.TRAPS) == 102
    links = [canonical_url(trap.url) for trap in traps.TRAPS if trap.stage != "submissions"]
    assert len(links) == len(set(links))
    assert not set(links) & {canonical_url(page.url) for page in site.ordinary_pages()}
    assert all(trap.outcome in FATES[trap.stage] for trap in traps.TRAPS)
    assert all(trap.stage == "corpus" for trap in traps.TRAPS if trap.outcome is Outcome.KEPT)


def test_every_fate_is_shown_but_those_that_a_crawl_cannot_meet():
    books = traps.expected()
    for stage, fates in FATES.items():
        assert set(books[stage]) == set(fates) - NOT_SHOWN.get(stage, set()), stage


def test_the_books_balance_from_stage_to_stage():
    books = traps.expected()
    for before, after in (("links", "pages"), ("pages", "documents"), ("documents", "corpus"), ("corpus", "tokens")):
        assert books[before][Outcome.KEPT] == sum(books[after].values())


def test_the_expected_counts_are_these():
    assert traps.expected() == {
        "submissions": {"kept": 557, "bad_line": 4, "bad_url": 4, "self_post": 1, "repeated": 1},
        "links": {
            "kept": 392, "low_karma": 62, "over_18": 1, "reddit_host": 2, "wikipedia_host": 2, "blocked_host": 2,
            "blocked_suffix": 2,
        },
        "pages": {
            "kept": 358, "robots_disallowed": 4, "robots_unreachable": 1, "not_found": 2, "client_error": 1,
            "server_error": 1, "bad_status": 1, "redirect_loop": 1, "too_many_redirects": 1, "bad_redirect": 2,
            "not_public": 3, "too_large": 2, "timed_out": 2, "bad_encoding": 1, "connect_error": 1, "bad_response": 2,
            "incomplete": 2, "name_error": 1, "not_html": 2, "empty_body": 1, "opted_out": 3,
        },
        "documents": {"kept": 355, "undecodable": 1, "no_text": 2},
        "corpus": {
            "kept": 339, "other_language": 6, "too_short": 1, "low_quality": 2, "wikipedia_text": 2,
            "exact_duplicate": 3, "near_duplicate": 2,
        },
        "tokens": {"kept": 339},
    }  # fmt: skip


def test_the_karma_of_pages_is_spread_and_on_the_right_side_of_three():
    liked = [traps.liked_scores(number) for number in range(310)]
    assert all(scores[0] == max(scores) >= 3 for scores in liked)
    assert {len(scores) for scores in liked} == {1, 2, 3}
    assert sum(scores[0] < 30 for scores in liked) > 50 < sum(scores[0] > 500 for scores in liked)
    assert all(0 <= score < 3 for number in range(60) for score in traps.unloved_scores(number))


@pytest.mark.parametrize("trap", READ, ids=lambda trap: trap.name)
def test_the_extractor_reads_a_page_as_the_table_says(trap):
    reply = trap.reply()
    if reply.status in (301, 302):
        target = reply.headers[0][1]
        reply = traps.ROADS[target if "://" in target else traps.BLOG + target]()
    found = extract(reply.body, dict(reply.headers)["Content-Type"], trap.url, "cascade")
    assert found.outcome == (trap.outcome if trap.stage == "documents" else Outcome.KEPT)
    assert trap.says in found.text
    measured = signals(found.text)
    if trap.stage == "corpus":
        assert (measured["language"] != "en") == (trap.outcome is Outcome.OTHER_LANGUAGE)
    if trap.stage == "corpus" and trap.outcome is not Outcome.OTHER_LANGUAGE:
        assert (measured["word_count"] < 96) == (trap.outcome is Outcome.TOO_SHORT)
        assert (measured["alphabetic_word_share"] < 0.8) == (trap.outcome is Outcome.LOW_QUALITY)


@pytest.mark.parametrize("number", range(24))
@pytest.mark.parametrize(("changes", "key"), [(5, "five"), (3, "three")])
def test_a_reworded_passage_stays_a_near_copy(number, changes, key):
    passage = site.reserved(number)
    changed = replies.reworded(passage, changes, key)
    assert changed.words == passage.words
    assert 0.85 <= jaccard(grams(words(passage), 5), grams(words(changed), 5)) < 1


def test_half_a_copy_is_far_from_a_near_copy():
    halved = replies.half(site.reserved(22), site.reserved(23))
    assert 0.2 < jaccard(grams(words(halved), 5), grams(words(site.reserved(22)), 5)) < 0.6


def test_copies_are_the_same_bytes_and_the_karma_says_which_one_stays():
    assert trap("a story").reply() == trap("the story copied").reply() == trap("the story again").reply()
    assert trap("less liked than its copy").reply() == trap("a copy more liked").reply()
    assert trap("a story").posts[0].score > trap("the story copied").posts[0].score
    assert trap("less liked than its copy").posts[0].score < trap("a copy more liked").posts[0].score
    assert trap("a chapter").posts[0].score > trap("five words changed").posts[0].score


def test_mirrors_are_the_encyclopedias_text_and_a_quotation_is_not():
    known = set()
    for number in traps.ENCYCLOPEDIA:
        text = re.sub(r"<ref>.*?</ref>|\{\{.*?\}\}|[\[\]']", "", replies.wikitext(site.reserved(number)))
        known |= grams(re.findall(r"\w+", text.lower()), 8)

    def overlap(name):
        page = extract(trap(name).reply().body, "text/html; charset=utf-8", trap(name).url, "cascade").text
        found = grams(re.findall(r"\w+", page.lower()), 8)
        return len(found & known) / len(found)

    assert overlap("encyclopedia mirrored") > 0.8
    assert overlap("encyclopedia mirrored with thanks") > 0.8
    assert 0.02 < overlap("encyclopedia quoted") < 0.3


def test_no_two_pages_are_alike_by_accident():
    shingles = [grams(words(page.passage), 5) for page in site.ordinary_pages()]
    holders, pairs = {}, set()
    for number, found in enumerate(shingles):
        for shingle in found:
            pairs.update((other, number) for other in holders.get(shingle, ()))
            holders.setdefault(shingle, []).append(number)
    assert max(jaccard(shingles[left], shingles[right]) for left, right in pairs) < 0.5


def test_the_first_words_are_cut_at_a_word():
    passage = Passage("T", ("one two three.", "four five."))
    assert replies.first_words(passage, 4) == ("one two three.", "four")
    assert replies.first_words(passage, 3) == ("one two three.",)

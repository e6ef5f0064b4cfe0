"""The client: the real PRAW against a server that misbehaves. Nothing here waits for a clock but the hang of 0.3 s."""

import logging
import socket
import traceback
from email.utils import formatdate
from itertools import pairwise

import praw
import pytest

from pipeline.shards.outcomes import ConfigError, Outcome, SourceError
from pipeline.submissions import reddit as module
from pipeline.submissions.listings import Unreadable, info, walk
from pipeline.submissions.reddit import Outage, Pace
from tests.submissions.local_reddit import (
    CLIENT_ID,
    CLIENT_SECRET,
    NOW,
    TOKEN,
    TOKEN_ANSWER,
    FakeClock,
    listing,
    local_reddit,
    post,
    recorded,
)

GOOD = listing(post(1))


@pytest.fixture(autouse=True)
def no_settings_of_praw_from_outside(monkeypatch, tmp_path):
    """Neither the environment nor a praw.ini of the one who runs the tests has a say; nor does a proxy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("client_id", "client_secret", "username", "password", "refresh_token", "site"):
        monkeypatch.delenv(f"praw_{name}", raising=False)
    monkeypatch.setattr(praw.config.Config, "CONFIG", None)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"slept for {seconds} s in earnest"))


def in_turn(*answers):
    """Answers one after the other, the last one again and again."""
    left = list(answers)
    return lambda *_: left.pop(0) if len(left) > 1 else left[0]


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def asked(*answers, sign_in=TOKEN_ANSWER, **settings):
    """What a client makes of `answers`: its value or its error, the sleeps, the server."""
    fake = FakeClock()
    with local_reddit(in_turn(*answers), sign_in=sign_in) as reddit:
        client = reddit.client(fake.clock(), **settings)
        try:
            return client.ask("r/books/new", {}), fake.slept, reddit
        except (Unreadable, SourceError) as error:
            return error, fake.slept, reddit


def test_an_answer_is_given_as_it_is_and_the_user_agent_says_who_asks():
    value, slept, reddit = asked(GOOD)
    assert (value, slept, reddit.sign_ins) == (GOOD, [], 1)
    assert reddit.asked == [("/r/books/new", {"raw_json": "1"})]
    assert all(head["User-Agent"].startswith("webtext/0 (+mailto:a@b.test) PRAW/") for head in reddit.heads)


@pytest.mark.parametrize(
    ("failures", "slept"),
    [
        ([(503, {}, b"")], [1.0]),
        ([(500, {}, b"oops"), (502, {}, b"<html>")], [1.0, 2.0]),
        ([(408, {}, b"")], [1.0]),
        ([(503, {"Retry-After": "7"}, b"")], [7.0]),
        ([(429, {"Retry-After": "17"}, b"{}")], [17.0]),
        ([(429, {"Retry-After": "0.5"}, b"")], [0.5]),
        ([(429, {}, b"")], [1.0]),
        ([(429, {"Retry-After": "soon"}, b"")], [1.0]),
        ([(429, {"Retry-After": "nan"}, b"")], [1.0]),
        ([(429, {"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "44"}, b"")], [44.0]),
        ([(200, {}, b'{"kind": "Listing", "da'), (200, {}, b"<html>busy</html>")], [1.0, 2.0]),
        ([(200, {}, b"\xff\xfe")], [1.0]),
        ([(200, {}, b"[" * 100_000)], [1.0]),
    ],
)
def test_what_may_pass_is_tried_again_after_the_wait_that_was_asked_for(failures, slept):
    value, waits, reddit = asked(*failures, GOOD)
    assert value == GOOD
    assert waits == slept
    assert len(reddit.asked) == len(failures) + 1


def test_a_date_of_retry_after_counts_from_the_servers_own_clock():
    headers = {"retry-after": formatdate(NOW + 30, usegmt=True), "date": formatdate(NOW + 10, usegmt=True)}
    assert module.retry_after(headers) == 20.0
    assert module.retry_after({"retry-after": headers["date"], "date": headers["retry-after"]}) == 0.0
    assert module.retry_after({"retry-after": headers["date"]}) is None


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((429, {}, b""), Outage, "too many requests (HTTP 429)"),
        ((503, {}, b""), Unreadable, "5xx, also after the retries (HTTP 503)"),
        ((200, {}, b"{"), Unreadable, "the answer is not what the API promises"),
    ],
)
def test_retries_are_bounded(answer, kind, said):
    error, slept, reddit = asked(answer)
    assert type(error) is kind
    assert said in str(error)
    assert len(reddit.asked) == 3
    assert slept == [1.0, 2.0]


def test_a_wait_longer_than_the_window_is_told_and_not_waited_for():
    error, slept, reddit = asked((429, {"Retry-After": "86400"}, b""))
    assert isinstance(error, Outage)
    assert (slept, len(reddit.asked)) == ([], 1)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((403, {}, {"reason": "private", "message": "Forbidden", "error": 403}), Outcome.PRIVATE),
        ((403, {}, {"reason": "quarantined"}), Outcome.QUARANTINED),
        ((404, {}, {"reason": "banned"}), Outcome.BANNED),
        ((404, {}, {"message": "Not Found", "error": 404}), Outcome.NOT_FOUND),
        ((302, {"Location": "/subreddits/search?q=books"}, b""), Outcome.NOT_FOUND),
        ((403, {}, b"<html>blocked"), Outcome.CLIENT_ERROR),
        ((403, {}, {"reason": ["odd"]}), Outcome.CLIENT_ERROR),
        ((451, {}, b""), Outcome.CLIENT_ERROR),
        ((400, {}, b"[1]"), Outcome.CLIENT_ERROR),
    ],
)
def test_a_refusal_has_its_name_and_is_not_tried_again(answer, outcome):
    error, slept, reddit = asked(answer)
    assert isinstance(error, Unreadable)
    assert (error.outcome, error.status) == (outcome, answer[0])
    assert (slept, len(reddit.asked)) == ([], 1)


@pytest.mark.failure("a token of Reddit's API expires", "it is renewed once, and the request made again", "nothing")
def test_an_expired_token_is_renewed_once():
    value, slept, reddit = asked((401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, b""), GOOD)
    assert (value, slept, reddit.sign_ins) == (GOOD, [], 2)
    error, _, reddit = asked((401, {}, b""))
    assert type(error) is SourceError
    assert "refuses a token that it has just given" in str(error)
    assert (reddit.sign_ins, len(reddit.asked)) == (2, 2)


@pytest.mark.failure(
    "Reddit refuses the credentials", "exit 10, after one request", "check `praw_client_id` and its like"
)
@pytest.mark.parametrize(
    "sign_in",
    [(401, {}, {"message": "Unauthorized", "error": 401}), {"error": "invalid_grant"}, (403, {}, b"<html>blocked")],
)
def test_refused_credentials_are_told_at_once(sign_in):
    error, slept, reddit = asked(GOOD, sign_in=sign_in)
    assert type(error) is SourceError
    assert "refuses the credentials" in str(error)
    assert "praw_client_id" in str(error)
    assert (slept, reddit.sign_ins, reddit.asked) == ([], 1, [])


@pytest.mark.parametrize("sign_in", [b"{", {}, [], {**TOKEN_ANSWER, "access_token": "a\nb"}, b"null"])
def test_a_sign_in_that_makes_no_sense_is_tried_again_and_told(sign_in):
    error, slept, reddit = asked(GOOD, sign_in=sign_in)
    assert isinstance(error, Outage)
    assert "the sign-in" in str(error)
    assert (slept, reddit.sign_ins, reddit.asked) == ([1.0, 2.0], 3, [])


def test_requests_keep_the_gap_and_spread_what_reddit_grants_over_the_time_to_the_next_grant():
    grants = [(200, {"X-Ratelimit-Remaining": left, "X-Ratelimit-Reset": "300"}, GOOD) for left in ("100.0", "0.0")]
    strange = (200, {"X-Ratelimit-Remaining": "many", "X-Ratelimit-Reset": "-4"}, GOOD)
    fake = FakeClock()
    with local_reddit(in_turn(*grants, strange, GOOD)) as reddit:
        client = reddit.client(fake.clock(), gap_s=0.6)
        for _ in range(4):
            client.ask("r/books/new", {})
    assert fake.slept == pytest.approx([0.6, 3.0, 300.0, 0.6])  # after the sign-in, and after each answer


@pytest.mark.parametrize("gap_s", [0.6, 7.0, 1_200.0])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining": "990", "x-ratelimit-reset": "5"},
        {"x-ratelimit-remaining": "1000", "x-ratelimit-reset": "0"},
        {"x-ratelimit-remaining": "inf", "x-ratelimit-reset": "1e9"},
    ],
)
def test_no_header_makes_the_gap_between_two_requests_smaller_than_the_setting(gap_s, headers):
    fake = FakeClock()
    pace, sent = Pace(fake.clock(), gap_s), []
    for number in range(20):
        pace.wait()
        sent.append(fake.time)
        fake.time += 0.05
        if number % 3:  # every third request ends without an answer
            pace.answered(headers)
    assert min(later - one for one, later in pairwise(sent)) >= gap_s - 1e-6


def test_a_retry_keeps_the_gap_too():
    with local_reddit(in_turn((503, {"Retry-After": "0"}, b""), hang_up, GOOD)) as reddit:
        fake = FakeClock()
        reddit.client(fake.clock(), gap_s=9.0).ask("r/books/new", {})
        assert fake.slept == [9.0, 9.0, 9.0]


def test_a_server_that_hangs_is_left_at_the_deadline():
    with local_reddit(lambda *_: lambda _handler: reddit.closing.wait(20)) as reddit:
        fake = FakeClock()
        client = reddit.client(fake.clock(), deadline_s=0.3, retries=1)
        with pytest.raises(Unreadable) as failure:
            client.ask("r/books/new", {})
        assert failure.value.outcome is Outcome.TIMED_OUT
        assert (fake.slept, len(reddit.asked)) == ([1.0], 2)


@pytest.mark.failure(
    "Reddit's server drips or hangs", "the request is left at `harvest.deadline_s` and tried again", "nothing"
)
def test_a_server_that_drips_is_left_at_the_deadline():
    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        while not reddit.closing.wait(0.02):
            handler.wfile.write(b" ")

    with local_reddit(lambda *_: drip) as reddit:
        client = reddit.client(FakeClock().clock(), deadline_s=0.3, retries=0)
        with pytest.raises(Unreadable) as failure:
            client.ask("r/books/new", {})
        assert failure.value.outcome is Outcome.TIMED_OUT


def test_an_answer_without_end_and_a_broken_connection_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_ANSWER", 100_000)
    for answer in [(200, {}, b" " * 200_000), hang_up]:
        error, slept, reddit = asked(answer)
        assert isinstance(error, Outage)
        assert "cannot be reached" in str(error)
        assert (slept, len(reddit.asked)) == ([1.0, 2.0], 3)


def test_a_server_that_is_not_there_is_an_outage():
    with local_reddit(in_turn(GOOD)) as reddit:
        client = reddit.client(FakeClock().clock(), retries=1)
    with pytest.raises(Outage, match=r"127\.0\.0\.1:\d+: cannot be reached \(ConnectionError\)"):
        client.ask("r/books/new", {})


def test_no_credentials_are_a_line_that_says_where_they_go(monkeypatch, tmp_path):
    with local_reddit(in_turn(GOOD)) as reddit:
        monkeypatch.setattr(reddit, "more", dict)
        with pytest.raises(ConfigError, match=r"set praw_client_id and praw_client_secret .* praw\.ini"):
            reddit.client(FakeClock().clock())
        (tmp_path / "praw.ini").write_text(f"[DEFAULT]\nclient_secret {CLIENT_SECRET}\n")
        monkeypatch.setattr(praw.config.Config, "CONFIG", None)
        with pytest.raises(ConfigError, match=r"praw\.ini cannot be read \(ParsingError\)") as failure:
            reddit.client(FakeClock().clock())
        assert CLIENT_SECRET not in "".join(traceback.format_exception(failure.value))


@pytest.mark.parametrize("place", ["environment", "praw.ini"])
def test_credentials_come_from_the_environment_or_praw_ini(monkeypatch, tmp_path, place):
    with local_reddit(in_turn(GOOD)) as reddit:
        if place == "environment":
            monkeypatch.setenv("praw_client_id", CLIENT_ID)
            monkeypatch.setenv("praw_client_secret", CLIENT_SECRET)
        else:
            (tmp_path / "praw.ini").write_text(f"[DEFAULT]\nclient_id={CLIENT_ID}\nclient_secret={CLIENT_SECRET}\n")
        more = {"reddit_url": reddit.url, "oauth_url": reddit.url}
        monkeypatch.setattr(reddit, "more", lambda: more)
        assert reddit.client(FakeClock().clock()).ask("r/books/new", {}) == GOOD


@pytest.mark.parametrize(
    "answer",
    [(401, {}, b""), (429, {}, b""), (500, {}, b""), (403, {}, b""), (200, {}, b"{"), hang_up],
)
def test_no_secret_is_in_an_error_a_traceback_or_a_log(answer, caplog):
    caplog.set_level(logging.DEBUG)
    for sign_in in (
        TOKEN_ANSWER,
        (401, {}, b""),
        {"error": CLIENT_SECRET},
        {**TOKEN_ANSWER, "access_token": f"{TOKEN}\n"},
    ):
        error, _, reddit = asked(answer, sign_in=sign_in)
        assert isinstance(error, Exception)
        said = "".join(traceback.format_exception(error)) + caplog.text
        basic = reddit.heads[0]["Authorization"].removeprefix("Basic ")
        assert not [secret for secret in (CLIENT_SECRET, TOKEN, basic) if secret in said]


def test_sixteen_recorded_pages_are_walked_by_the_real_client():
    pages = recorded("TestListingGenerator.test_exhaust_items_with_before")
    by_after = {query.get("after"): body for _, query, body in pages}
    assert len(by_after) == 16
    with local_reddit(lambda _, query: (200, {}, by_after[query.get("after")])) as reddit:
        client = reddit.client(FakeClock().clock())
        found = list(walk(client.ask, pages[0][0].lstrip("/"), {"sort": "top", "t": "all", "before": "3cxedn"}))
    assert [page.items for page in found] == [100] * 15 + [23]
    assert [query.get("after") for _, query in reddit.asked] == [query.get("after") for _, query, _ in pages]
    assert {path for path, _ in reddit.asked} == {"/user/spez/"}
    fates = sum((page.fates for page in found), start=type(found[0].fates)())
    assert sum(len(page.submissions) for page in found) == 484
    assert fates == {Outcome.BAD_LINE: 998, Outcome.SELF_POST: 41}  # 998 are comments


def test_a_recorded_answer_of_info_tells_posts_texts_and_deleted_ones_apart():
    answers = recorded("TestReddit.test_info")
    with local_reddit(in_turn(*((200, {}, body) for _, _, body in answers))) as reddit:
        client = reddit.client(FakeClock().clock())
        found = [info(client.ask, ["a"]) for _ in answers]
    assert [page.items for page in found] == [100, 99, 98]
    counts = [sum(len(getattr(page, name)) for page in found) for name in ("submissions", "gone")]
    texts = sum(page.fates[Outcome.SELF_POST] for page in found)
    assert (*counts, texts) == (60, 3, 34)

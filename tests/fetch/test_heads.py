"""Heads and the ends of bodies: what browsers take is taken, whatever the bytes, in whatever pieces they come."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.fetch import heads
from pipeline.fetch.heads import Body, Head, parse


def head(*lines, status=b"HTTP/1.1 200 OK", end=b"\r\n"):
    return end.join([status, *lines, b"", b""])


def unframed(found, data):
    body = Body(found)
    return body.feed(data), body.missing()


def fields(*lines, **more):
    found, _ = parse(head(*lines, **more))
    return found.headers


@pytest.mark.parametrize(
    ("line", "version", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", "1.1", 200, "OK"),
        (b"HTTP/1.0 200", "1.0", 200, ""),
        (b"HTTP/1.1 404 ", "1.1", 404, ""),
        (b"HTTP/2 200", "2", 200, ""),
        (b"HTTP 200 fine", "1.0", 200, "fine"),
        (b"http/1.1  301\tMoved  for good ", "1.1", 301, "Moved  for good"),
        ("HTTP/1.1 404 Página".encode("latin-1"), "1.1", 404, "Página"),
        ("HTTP/1.1 404 Страница".encode(), "1.1", 404, "Страница".encode().decode("latin-1")),
        (b"HTTP/1.1 999 \x00\x80\xff", "1.1", 999, "\x00\x80\xff"),
        (b"\r\n\nHTTP/1.1 200 OK", "1.1", 200, "OK"),
    ],
)
def test_a_status_line_is_read_as_servers_write_it(line, version, status, reason):
    data = line + b"\r\nA: b\r\n\r\nbody"
    found, at = parse(data)
    assert (found.http_version, found.status, found.reason, found.headers) == (version, status, reason, (("A", "b"),))
    assert (data[at:], found.ended, found.raw) == (b"body", True, data[:at].lstrip(b"\r\n"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>\r\n\r\n",
        b"220 mail.test ESMTP\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n<html>",
    ],
)
def test_what_is_no_head_is_none(data):
    assert parse(data) is None


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r\r\n"])
def test_lines_end_in_any_of_three_ways(end):
    data = head(b"A: 1", b"B:2", end=end) + b"body"
    found, at = parse(data)
    assert found.headers == (("A", "1"), ("B", "2"))
    assert data[at:] == b"body"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((b"P3P : x", b"A: b"), (("P3P", "x"), ("A", "b"))),
        ((b"no colon", b"A: b"), (("A", "b"),)),
        ((b": nameless", b"A: b"), (("A", "b"),)),
        ((b"A: b", b"  c", b"\td", b"E: f"), (("A", "b c d"), ("E", "f"))),
        ((b" folds nothing", b"A: b"), (("A", "b"),)),
        ((b"dropped", b" with its end", b"A: b"), (("A", "b"),)),
        ((b"A: b\rc",), (("A", "b c"),)),
        ((b"A:  \xa0\x00\x1f\x85\xff \t",), (("A", "\xa0\x00\x1f\x85\xff"),)),
        ((b"A: http://b:80/", b"a:"), (("A", "http://b:80/"), ("a", ""))),
    ],
)
def test_lines_that_are_no_fields_are_mended_or_passed_over(lines, found):
    assert fields(*lines) == found


@pytest.mark.parametrize("between", [b"", b"\r\n"])
def test_heads_before_the_answer_are_passed_over(between):
    early = head(b"Link: </s.css>", status=b"HTTP/1.1 103 Early Hints")
    found, at = parse(head(status=b"HTTP/1.1 100 Continue") + early + between + early + head(b"A: b") + b"body")
    assert (found.status, found.headers, found.raw) == (200, (("A", "b"),), head(b"A: b"))
    assert at == len(head(status=b"HTTP/1.1 100 Continue") + early + between + early + head(b"A: b"))


def test_a_head_before_an_answer_that_never_comes_has_not_ended():
    early = head(status=b"HTTP/1.1 103 Early Hints")
    assert [parse(early)[0].status, parse(early)[0].ended] == [103, False]
    assert parse(early + b"HTTP/1.1 200 OK\r\nA:")[0].ended is False
    assert parse(head(status=b"HTTP/1.1 101 Switching Protocols") + b"anything")[0].status == 101


def test_a_head_that_breaks_off_has_not_ended():
    found, at = parse(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nSet-Coo")
    assert (found.status, found.headers, found.ended, at) == (302, (("Location", "/a"),), False, 41)


@pytest.mark.parametrize("lines", [1, 500, 60_000])
def test_a_head_counts_up_to_the_limit_whatever_its_lines(lines):
    room = heads.HEAD_BYTES - len(head(b""))
    each, more = divmod(room, lines)
    wanted = [b"x:" + b"y" * (each - 4) for _ in range(lines - 1)] + [b"x:" + b"y" * (each + more - 2)]
    data = head(*wanted)
    assert len(data) == heads.HEAD_BYTES
    assert parse(data + b"body")[0].headers == tuple(("x", line[2:].decode()) for line in wanted)
    assert parse(head(b"z" + wanted[0], *wanted[1:]) + b"body") is None


@given(st.binary(max_size=400))
@example(b"HTTP/1.1 103 \n\nHTTP/1.1 103 \n\n")
def test_no_bytes_raise(data):
    for start in (b"", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\n"):
        found = parse(start + data)
        if found is not None:
            assert 0 < found[1] <= len(start + data)
            unframed(found[0], data)
            heads.location_of(found[0].headers)
            heads.contradiction(found[0])


@given(st.binary(max_size=60))
def test_text_gives_every_byte_back(value):
    (found,) = fields(b"A: " + value.replace(b"\n", b" ").replace(b"\r", b" "))
    assert found[1].encode("latin-1") == value.replace(b"\n", b" ").replace(b"\r", b" ").strip(b" \t")


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"/jos\xe9", "/jos%E9"),
        ("/josé".encode(), "/jos%C3%A9"),
        ("/日本".encode("shift_jis"), "/%93%FA%96{"),
        (b"/a%20b", "/a%20b"),
        (b"", ""),
    ],
)
def test_bytes_of_a_location_go_back_as_they_came(sent, text):
    assert heads.location_of(fields(b"Location: " + sent, b"location: /second")) == text


# --- bodies


def of(*lines, status=b"HTTP/1.1 200 OK"):
    return parse(head(*lines, status=status))[0]


CHUNKS = b"3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nTrailer: t\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "data", "found", "whole"),
    [
        ((), b"all of it", b"all of it", True),
        ((b"Content-Length: 3",), b"abc", b"abc", True),
        ((b"Content-Length: 3",), b"abcdef", b"abc", True),
        ((b"Content-Length: 3",), b"ab", b"ab", False),
        ((b"Content-Length: 3",), b"", b"", False),
        ((b"Content-Length: 0",), b"abc", b"", True),
        ((b"Content-Length: 3", b"Content-Length: 03"), b"abcdef", b"abc", True),
        ((b"Content-Length: 3, 3",), b"abcdef", b"abc", True),
        ((b"Content-Length: -3",), b"abcdef", b"abcdef", True),
        ((b"Content-Length: three",), b"abcdef", b"abcdef", True),
        ((b"Content-Length: 1" + b"0" * 30,), b"abcdef", b"abcdef", True),
        ((b"Transfer-Encoding: chunked",), CHUNKS, b"abc0123456789abcdef", True),
        ((b"Transfer-Encoding: gzip, Chunked",), CHUNKS, b"abc0123456789abcdef", True),
        ((b"Transfer-Encoding: chunked", b"Content-Length: 3"), CHUNKS, b"abc0123456789abcdef", True),
        ((b"Transfer-Encoding: chunked", b"Content-Length: 0"), CHUNKS, b"abc0123456789abcdef", True),
        ((b"Transfer-Encoding: chunked",), CHUNKS.replace(b"\r\n", b"\n"), b"abc0123456789abcdef", True),
        ((b"Transfer-Encoding: chunked",), b"3  \r\nabc\r\n0\r\n", b"abc", True),
        ((b"Transfer-Encoding: chunked",), b"3\r\nabc\r\n", b"abc", False),
        ((b"Transfer-Encoding: chunked",), b"3\r\nab", b"ab", False),
        ((b"Transfer-Encoding: chunked",), b"3\r\nabc\r\nrubbish\r\n0\r\n\r\n", b"abc", False),
        ((b"Transfer-Encoding: chunked",), b"", b"", False),
        ((b"Transfer-Encoding: chunked",), b"1f", b"", False),
        ((b"Transfer-Encoding: chunked",), b"<p>no chunks</p>", b"<p>no chunks</p>", True),
        ((b"Transfer-Encoding: chunked", b"Content-Length: 99"), b"<p>no chunks</p>", b"<p>no chunks</p>", False),
        ((b"Transfer-Encoding: identity", b"Content-Length: 3"), b"abcdef", b"abc", True),
    ],
)
def test_a_body_ends_where_its_head_says(lines, data, found, whole):
    body, missing = unframed(of(*lines), data)
    assert (body, missing == "") == (found, whole), missing


@pytest.mark.parametrize("status", [b"HTTP/1.1 204 None", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 101 Other"])
def test_some_answers_have_no_body(status):
    assert unframed(of(b"Content-Length: 30", status=status), b"next") == (b"", "")
    assert unframed(of(b"Transfer-Encoding: chunked", status=status), b"next") == (b"", "")


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.sampled_from([b"\r\n", b"\n"]),
    st.data(),
)
def test_chunks_are_the_same_body_in_whatever_pieces_they_come(chunks, end, data):
    sent = b"".join(b"%X%s%s%s" % (len(one), end, one, end) for one in chunks) + b"0" + end + b"T: t" + end + end
    sent += data.draw(st.sampled_from([b"", b"HTTP/1.1 200 OK"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=12)))
    body = Body(of(b"Transfer-Encoding: chunked"))
    found = b"".join(body.feed(sent[a:b]) for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True) if b > a)
    assert (found, body.whole, body.broken, body.missing()) == (b"".join(chunks), True, False, "")
    assert body.ended is (not sent.endswith(b"200 OK"))


@given(st.binary(max_size=60), st.integers(0, 80), st.data())
def test_a_length_is_kept_to_in_whatever_pieces_the_body_comes(sent, length, data):
    cut = data.draw(st.integers(0, len(sent)))
    body = Body(of(b"Content-Length: %d" % length))
    assert body.feed(sent[:cut]) + body.feed(sent[cut:]) == sent[:length]
    assert body.whole is (len(sent) >= length)
    assert (body.missing() == "") is body.whole


def test_two_lengths_are_a_contradiction_and_chunks_are_none():
    assert heads.contradiction(of(b"Content-Length: 3", b"Content-Length: 4")) == "Content-Length is 3 and 4"
    assert heads.contradiction(of(b"Content-Length: 3, 4", b"Transfer-Encoding: chunked")) == ""
    assert heads.contradiction(of(b"Content-Length: 3, 3")) == ""


@pytest.mark.parametrize(
    ("said", "part"),
    [
        (b"bytes 0-99/100", False),
        (b"bytes 0-98/100", True),
        (b"bytes 1-99/100", True),
        (b"bytes 0-99/*", True),
        (b"", True),
    ],
)
def test_a_206_is_a_part_unless_it_says_that_it_is_all(said, part):
    assert heads.is_part(of(b"Content-Range: " + said, status=b"HTTP/1.1 206 Partial Content")) is part
    assert heads.is_part(of(b"Content-Range: " + said)) is False


def test_an_answer_is_told_from_anything_else_by_its_first_bytes():
    assert [heads.begins(data) for data in (b"", b"\r\n", b"H", b"\nhttp/1", b"220", b"<")] == [True] * 4 + [False] * 2
    assert Head("1.1", 200, "OK", ()).ended

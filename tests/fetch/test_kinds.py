"""Archives of every kind are read where they lie; a file of another kind is named and left out."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest
import zstandard
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.config import PagesSettings
from pipeline.fetch.captures import addresses, index
from pipeline.fetch.kinds import NotAnArchive, is_archive
from pipeline.fetch.readback import BadRecord, read_response
from pipeline.shards import storage
from pipeline.shards.locations import mirror
from pipeline.shards.outcomes import Outcome
from tests import stores
from tests.fetch.archives import PAGE, arc_record, filedesc, http, packed, record, wacz

SETTINGS = PagesSettings(limit_bytes=100_000)


def pages(first, last):
    """Records of pages by number."""
    return [record(http(PAGE + b"%d" % n), f"http://a.test/{n}") for n in range(first, last)]


def found(folder, content, name="s.wacz"):
    path = folder / name
    path.write_bytes(content)
    return path, list(index(path, SETTINGS))


def read_back(path, captures):
    """The number in each page, by its address."""
    return {
        one.url: read_response(path, one.offset, one.length, 100_000).body.removeprefix(PAGE).decode()
        for one in captures
        if one.outcome is Outcome.KEPT
    }


def numbers(first, last):
    return {f"http://a.test/{n}": str(n) for n in range(first, last)}


def test_the_names_of_archives_are_told_from_others():
    names = ("a.warc", "A.WARC.GZ", "b.warc.zst", "c.ARC", "c.arc.gz", "d.wacz", "e.gz", "warc", "f.zip", "g.cdx.gz")
    assert [is_archive(Path(name)) for name in names] == [
        *[True] * 6, *[False] * 4
    ]  # fmt: skip


# --- WACZ


def test_a_wacz_is_read_where_it_lies_all_its_archives(tmp_path):
    files = {
        "data.warc.gz": packed(pages(0, 3)),
        "plain.warc": b"".join(pages(3, 5)),
        "old.arc.gz": packed([filedesc(), arc_record(http(PAGE + b"5"), "http://a.test/5")]),
    }
    path, captures = found(tmp_path, wacz(files))
    assert {one.outcome for one in captures} == {Outcome.KEPT}
    assert read_back(path, captures) == numbers(0, 6)
    assert list(addresses(path)) == list(numbers(0, 6))


def test_the_records_of_warcio_in_a_wacz_are_read(tmp_path):
    held = io.BytesIO()
    writer = WARCWriter(held, gzip=True, warc_version="WARC/1.1")
    writer.write_record(writer.create_warcinfo_record("x", {"software": "x"}))
    for n in range(3):
        head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        body = io.BytesIO(PAGE + b"%d" % n)
        writer.write_record(writer.create_warc_record(f"http://a.test/{n}", "response", body, http_headers=head))
    path, captures = found(tmp_path, wacz({"data.warc.gz": held.getvalue()}))
    assert read_back(path, captures) == numbers(0, 3)


def test_a_wacz_behind_another_file_is_read(tmp_path):
    """A zip is read from its end: what stands before it does not count (APPNOTE 6.3.10, section 4.1.9)."""
    content = wacz({"data.warc.gz": packed(pages(0, 2))})
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr("empty/", b"")
        made.writestr("archive/data.warc.gz", packed(pages(0, 2)))
        made.comment = b"x" * 60_000
    for one in (content, held.getvalue()):
        path, captures = found(tmp_path, one)
        assert read_back(path, captures) == numbers(0, 2)


@pytest.mark.failure(
    "a WACZ is packed once more", "a note names the member and its offset; the others are read", "unpack it"
)
def test_a_member_that_cannot_be_read_by_its_place_is_named(tmp_path):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr("archive/a.warc.gz", packed(pages(0, 2)), zipfile.ZIP_DEFLATED)
        made.writestr("archive/b.warc.gz", packed(pages(2, 3)))
        made.writestr("inner.wacz", wacz({"c.warc.gz": packed(pages(3, 4))}))
        made.writestr("archive/d.warc.gz", b"nothing of the kind")
    path, captures = found(tmp_path, held.getvalue())
    assert read_back(path, captures) == numbers(2, 3)
    said = [one.detail for one in captures if one.outcome is Outcome.BAD_RECORD]
    wanted = ("archive/a.warc.gz is packed once more", "inner.wacz is packed once more", "archive/d.warc.gz is no WARC")
    assert len(said) == 3
    for one, words in zip(said, wanted, strict=True):
        assert words in one
        assert f"{path} at offset " in one


@pytest.mark.failure("a WACZ is cut off", "a note names the place; whole records are read", "fetch the file again")
@pytest.mark.parametrize("cut", [-1, -200, -1_000])
def test_of_a_wacz_that_is_cut_off_whole_records_are_read_and_the_cut_is_named(tmp_path, cut):
    files = {"data.warc.gz": packed(pages(0, 40))}
    content = wacz(files)
    end = (
        content.index(b"PK\x01\x02") if cut == -1 else content.index(files["data.warc.gz"]) + len(files["data.warc.gz"])
    )
    path, captures = found(tmp_path, content[: end + cut])
    bad = [one for one in captures if one.outcome is Outcome.BAD_RECORD]
    assert "the directory of the zip cannot be read" in bad[0].detail
    assert "fetch the file again" in bad[0].detail
    kept = read_back(path, captures)
    assert kept == numbers(0, len(kept))
    assert len(kept) == 40 if cut == -1 else 30 < len(kept) < 40


def test_a_flipped_byte_of_a_wacz_costs_one_record(tmp_path):
    content = bytearray(wacz({"data.warc.gz": packed(pages(0, 5))}))
    start = content.index(packed(pages(2, 3)))
    content[start + 50] ^= 1
    path, captures = found(tmp_path, bytes(content))
    assert read_back(path, captures) == {url: n for url, n in numbers(0, 5).items() if n != "2"}
    assert [one.offset for one in captures if one.outcome is Outcome.BAD_RECORD] == [start]


def test_members_that_lie_within_each_other_are_read_once(tmp_path):
    """As a zip may say that is made to unpack without end."""
    content = bytearray(wacz({"a.warc.gz": packed(pages(0, 2)), "b.warc.gz": packed(pages(0, 2))}))
    second = content.rindex(b"PK\x01\x02", 0, content.rindex(b"archive/b.warc.gz"))
    first_header = content.index(b"PK\x03\x04", 5)
    content[second + 42 : second + 46] = first_header.to_bytes(4, "little")
    _, captures = found(tmp_path, bytes(content))
    assert [one.url for one in captures] == list(numbers(0, 2))


def test_archives_on_an_object_store_are_read_in_place(tmp_path):
    files = {
        "x.wacz": wacz({"data.warc.gz": packed(pages(0, 3)), "plain.warc": b"".join(pages(3, 4))}),
        "y.arc": filedesc() + arc_record(http(PAGE + b"7"), "http://a.test/7"),
        "z.arc.gz": packed([filedesc(2), arc_record(http(PAGE + b"8"), "http://a.test/8", 2)]),
    }
    wanted = {"x.wacz": numbers(0, 4), "y.arc": numbers(7, 8), "z.arc.gz": numbers(8, 9)}
    with stores.server() as address, stores.bucket(address, tmp_path / "cache") as bucket:
        for name, content in files.items():
            path = mirror(f"{bucket}/{name}")
            storage.write_bytes(path, content)
            for copy in path.parent.glob(f"*{name}*"):  # what was written lies here too
                copy.unlink()
            captures = list(index(path, SETTINGS))
            assert read_back(path, captures) == wanted[name]
            assert list(addresses(path)) == list(wanted[name])
            assert not path.exists()


# --- ARC


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["s.arc", "s.arc.gz", "no-suffix"])
def test_arc_files_of_both_versions_are_read(tmp_path, version, name):
    records = [filedesc(version)]
    records += [arc_record(http(PAGE + b"%d" % n), f"http://a.test/{n}", version) for n in range(3)]
    records += [arc_record(b"192.0.2.1", "dns:a.test", version), arc_record(b"<p>no head", "http://a.test/no", version)]
    path, captures = found(tmp_path, packed(records) if name.endswith("gz") else b"".join(records), name)
    assert read_back(path, captures) == numbers(0, 3)
    assert [(one.url, str(one.outcome)) for one in captures[3:]] == [("http://a.test/no", "bad_record")]
    with pytest.raises(BadRecord):
        read_response(path, captures[1].offset + 1, None, 100_000)


def test_a_page_that_looks_like_lines_of_arc_is_one_page(tmp_path):
    body = b"http://b.test/ 192.0.2.1 20070513010203 text/html 5\nhello\n" * 3
    path, [capture] = found(tmp_path, filedesc() + arc_record(http(body), "http://a.test/"), "s.arc")
    assert read_response(path, capture.offset, capture.length, 100_000).body == body


# --- other kinds


OTHERS = {
    "pages.zip": (b"PK\x05\x06" + bytes(18), "a zip without WARC or ARC files"),
    "index.cdx": (b" CDX N b a m s k r M S V g\ntest,a)/ 2014 http://a.test/\n", "name the WARC files that it lists"),
    "index.cdxj": (b'test,a)/ 2014 {"url": "http://a.test/"}\n', "name the WARC files that it lists"),
    "x.har": (b'{"log": {"entries": []}}', "har2warc"),
    "page.html": (b"<!doctype html>", "warcit"),
    "list.gz": (gzip.compress(b"http://a.test/\nhttp://b.test/\n"), "take it out of the setting"),
    "x.warc.gz": (gzip.compress(b'{"a": 1}'), "take it out of the setting"),
    "x.warc.zst": (zstandard.compress(b'{"a": 1}'), "take it out of the setting"),
    "empty.warc": (b"", "it is empty; fetch it again"),
    "x.tar": (b"x.warc.gz" + bytes(600), "unpack it"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_kind_is_named_with_the_cure(tmp_path, name):
    content, said = OTHERS[name]
    path = tmp_path / name
    path.write_bytes(content)
    for read in (lambda: list(index(path, SETTINGS)), lambda: list(addresses(path))):
        with pytest.raises(NotAnArchive) as raised:
            read()
        assert str(raised.value).startswith(f"{path}: ")
        assert said in str(raised.value)

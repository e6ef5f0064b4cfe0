import hashlib
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.text.normalize import MOJIBAKE, clean, counted_words, marked_word, text_hash, word_pattern, words

NASTY = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.sampled_from(
            "Ãâ€™Â©\x80\x9c\x92ȩ́ \t\n\r\u2028\u2029\u200b\u200c\u200d\ufeff\u00ad\ud83d\ude00\ufffdÐ²Ñ\x1a\xa0"
        ),
    ),
    max_size=60,
)


@given(NASTY)
@example("Ã\u200b©")
@example("ÃƒÂ©")
@example("e\u200b\u0301")
@example("a\u200d\u200db")
def test_cleaning_twice_is_cleaning_once(text):
    assert clean(clean(text)) == clean(text)


@given(NASTY)
def test_clean_text_is_nfc_utf8_without_what_no_reader_sees(text):
    cleaned = clean(text)
    assert cleaned.encode().decode() == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not {unicodedata.category(char) for char in cleaned} & {"Cs", "Zl", "Zp"}
    assert not any(unicodedata.category(char) == "Cc" and char != "\n" for char in cleaned)
    assert cleaned == cleaned.strip()
    assert "\n\n\n" not in cleaned
    assert "  " not in cleaned


def test_mojibake_is_repaired_line_by_line():
    assert clean("Itâ€™s a cafÃ©.\nIt’s a café.") == "It’s a café.\nIt’s a café."
    assert clean("WireGuardÂ® protocol") == "WireGuard® protocol"
    assert clean("Ã\u200b©") == "é"


def test_text_that_only_looks_odd_is_left_alone():
    assert clean("“Quoted” — naïve café, ÂNGELA, Größe, русский…") == "“Quoted” — naïve café, ÂNGELA, Größe, русский…"
    assert clean("ﬁne ‘quotes’ and … stay") == "ﬁne ‘quotes’ and … stay"


def test_every_spelling_of_mojibake_passes_the_quick_check():
    for encoding in (
        "latin-1",
        "cp1252",
        "cp1251",
        "cp1250",
        "cp1253",
        "cp1254",
        "cp1257",
        "iso-8859-2",
        "mac-roman",
        "cp437",
    ):
        for letter in "é’“€ß":
            garbled = letter.encode().decode(encoding, "replace")
            assert MOJIBAKE.search(f"a {garbled} b"), (encoding, letter)


def test_control_and_zero_width_characters_go():
    assert clean("a\x00b\x08c\u200bd\ufeffe\u00adf\u202eg\u2066h") == "abcdefgh"
    assert clean("it\x92s") == "it’s"  # a C1 control is Windows-1252 that lost its name
    assert clean("a\u200db") == "ab"
    assert clean("👩\u200d💻 می\u200cخواهم") == "👩\u200d💻 می\u200cخواهم"


def test_lone_surrogates_become_replacement_characters():
    assert clean("a\ud800b") == "a\ufffdb"


def test_white_space_keeps_lines_and_paragraphs():
    text = "  one\u00a0 two\t three \r\n four\u2028five\u2029six\n\n\n \n\nseven  "
    assert clean(text) == "one two three\nfour\nfive\n\nsix\n\nseven"
    assert clean(" \n\t ") == ""


def test_words_are_lower_case_runs_of_letters_and_digits():
    assert words("Don't STOP_me: 3.5 Straßen, Café! 日本語 — тест") == [
        "don", "t", "stop_me", "3", "5", "straßen", "café", "日", "本", "語", "тест",
    ]  # fmt: skip
    assert words("…") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("राम की किताब", ["राम", "की", "किताब"]),  # vowel signs, Mc and Mn
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
        ("سَلَامٌ عَلَيْكُم", ["سَلَامٌ", "عَلَيْكُم"]),
        ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),  # a joiner belongs to its word
        ("tiê\u0301ng Vie\u0323\u0302t", ["tiếng", "việt"]),
        ("ق\u200dd \u0301x", ["ق\u200dd", "x"]),  # no word begins with a mark
        ("İstanbul", ["i̇stanbul"]),  # whose small letter is two characters
        ("城里的2019年Python。", ["城", "里", "的", "2019", "年", "python"]),
        ("カタカナ ひらがな ｶﾞ", ["カ", "タ", "カ", "ナ", "ひ", "ら", "が", "な", "ｶ", "ﾞ"]),
        ("เสื้อ เสือ ๒๕๖๑", ["เ", "สื้", "อ", "เ", "สื", "อ", "๒๕๖๑"]),
        ("ភាសាខ្មែរ", ["ភា", "សា", "ខ្", "មែ", "រ"]),
        ("မြန်မာ ພາສາລາວ", ["မြ", "န်", "မာ", "ພ", "າ", "ສ", "າ", "ລ", "າ", "ວ"]),
        ("མི་རིགས།", ["མི", "རི", "ག", "ས"]),
        ("한국어 문장", ["한국어", "문장"]),  # Korean has spaces
        ("5️⃣ ❤️ 👩‍💻 ½", ["5", "½"]),  # how a sign is drawn is no part of a word
    ],
)
def test_a_mark_belongs_to_its_word_and_without_spaces_every_character_is_one(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("राम की किताब नदी के पास है", "राम का कुतुब नदी की पास हो"),
        ("เสือ", "เสื้อ"),
        ("כָּתַב", "כִּתֵּב"),
        ("كَتَبَ", "كُتِبَ"),
        ("கல்", "கால்"),
        ("ma\u0301 la\u0300", "ma\u0300 la\u0301"),
    ],
)
def test_texts_that_differ_in_marks_only_are_different_and_canonically_equal_ones_equal(one, other):
    assert text_hash(one) != text_hash(other)
    assert text_hash(unicodedata.normalize("NFD", one)) == text_hash(unicodedata.normalize("NFC", one))


@given(st.text(st.characters(max_codepoint=0x2FF, exclude_characters="İ"), max_size=60))
def test_words_of_latin_letters_are_what_they_always_were(text):
    assert words(text) == re.findall(r"\w+", text.lower())


LETTERS = st.sampled_from(list("aé½_ -.’“–Ωжİ字かเ\u0301\u0e35\u200d\u200c\ufe0f❤5ि한\U0001f600"))


@given(st.text(st.one_of(LETTERS, st.characters()), max_size=40).map(clean))
def test_the_quick_way_to_words_is_the_slow_one(text):
    slow = marked_word().findall(unicodedata.normalize("NFC", text.lower()))
    assert words(text) == slow
    if word_pattern(text) is not marked_word():
        assert [found.group() for found in word_pattern(text).finditer(text.lower())] == slow


@given(st.text(st.one_of(LETTERS, st.characters()), max_size=40).map(clean))
def test_counted_words_hold_every_character_but_white_space(text):
    assert "".join(counted_words(text)) == "".join(text.split())


def test_two_characters_of_a_script_without_spaces_count_as_a_word():
    assert counted_words("Don't stop, 3.5 — ok") == ["Don't", "stop,", "3.5", "—", "ok"]
    assert counted_words("城里的老渡口，在2019年Python编程。") == [
        "城里",
        "的老",
        "渡口，",
        "在",
        "2019",
        "年",
        "Python",
        "编程。",
    ]
    assert counted_words("「本日」は（晴れ）") == ["「本日」", "は（", "晴れ）"]
    assert len(counted_words("มนุษย์ทั้งหลายเกิดมามีอิสระ")) == 10  # 20 characters with their marks
    assert len(counted_words("城" * 900)) == 450


def test_english_keeps_its_words_hashes_and_counts():
    """Taken down before marks and scripts without spaces were heard of."""
    text = "“It’s a café in Genève,” said Zoë — £5 or €6… 5️⃣ naïve co-operators_2 at ½ price; FAÇADE 100° ™ → ✓"
    assert words(text) == [
        "it", "s", "a", "café", "in", "genève", "said", "zoë", "5", "or", "6", "5", "naïve", "co", "operators_2", "at",
        "½", "price", "façade", "100",
    ]  # fmt: skip
    assert text_hash(text).hex() == "0fb3d349072cb388638f1f4099e6cfae"
    assert len(counted_words(text)) == len(text.split())


def test_the_hash_sees_words_and_nothing_else():
    expected = hashlib.blake2b(b"the cat sat", digest_size=16).digest()
    assert text_hash("The cat\n\nSAT.") == text_hash("the — cat (sat)") == expected
    assert text_hash("the cats at") != expected
    assert text_hash("STRASSE") == text_hash("straße")


def test_texts_without_words_are_equal_only_when_they_are_the_same():
    assert text_hash("…") != text_hash("!")
    assert len(text_hash("")) == 16


@given(st.lists(st.lists(st.text("abc.,'é字", min_size=1, max_size=9), min_size=1, max_size=4), max_size=5))
def test_clean_paragraphs_are_left_as_they_are(paragraphs):
    text = "\n\n".join("\n".join(lines) for lines in paragraphs)
    assert clean(text) == text


@given(st.text(st.characters(max_codepoint=0x7F), max_size=80))
def test_of_ascii_nothing_is_lost_but_controls_and_white_space(text):
    kept = [char for char in text if char.isprintable() and char != " "]
    assert [char for char in clean(text) if not char.isspace()] == kept


@given(st.lists(st.text("ab \t\u00a0", max_size=5), max_size=8), st.sampled_from(["\n", "\r", "\r\n", "\u2028", "\v"]))
def test_every_kind_of_line_end_parts_the_same_lines(lines, end):
    assert clean(end.join(lines)) == clean("\n".join(lines))


def test_nasty_strings_are_cleaned_once_for_all():
    path = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "torture" / "blns.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    for text in json.loads(path.read_text("utf-8")):
        cleaned = clean(text)
        assert clean(cleaned) == cleaned
        assert cleaned.encode().decode() == cleaned
        assert words(cleaned) or not any(char.isalnum() for char in text), text

import pytest

from pipeline.text.normalize import words
from pipeline.text.repetition import REPETITIONS
from pipeline.text.signals import ADULT_WORDS, SIGNALS, SPAM_WORDS, language, signals

PROSE = "The cat sat with the dog, and that was that.\nIt had to be!"


def test_every_signal_has_a_meaning_and_every_meaning_a_signal():
    for text in (PROSE, "", "…"):
        assert list(signals(text)) == list(SIGNALS)
    assert all(SIGNALS.values())


def test_signals_of_a_small_text_are_the_ones_counted_by_hand():
    found = signals(PROSE)
    assert found["language"] == "en"
    assert 0.5 < found["language_score"] <= 1
    assert {name: found[name] for name in found if not name.startswith("language")} == {
        "word_count": 14,
        "char_count": 58,
        "mean_word_length": pytest.approx(45 / 14),
        "alphabetic_word_share": 1.0,
        "stop_word_count": 5,  # the, with, and, that, to; "be!" is another word
        "symbol_ratio": 0.0,
        "bullet_line_share": 0.0,
        "ellipsis_line_share": 0.0,
        "terminal_punctuation_share": 1.0,
        "short_line_share": 0.5,
        "lines_per_word": pytest.approx(2 / 14),
        "curly_bracket_count": 0,
        "boilerplate_line_share": 0.0,
        "adult_word_share": 0.0,
        "spam_word_share": 0.0,
        "email_count": 0,
        "ip_count": 0,
        "sentence_count": 2,
        "c4_sentence_count": 1,  # its second line has four words
        "lorem_ipsum_count": 0,
        "replacement_count": 0,
        **dict.fromkeys(REPETITIONS, 0.0),
    }


def test_signals_of_a_list_of_junk():
    found = signals("• one ...\n- two #\n- two #\n\n12 34 …\n   \n")
    assert found["word_count"] == 12
    assert found["alphabetic_word_share"] == pytest.approx(3 / 12)
    assert found["symbol_ratio"] == pytest.approx(2 / 12)
    assert found["bullet_line_share"] == 0.75
    assert found["ellipsis_line_share"] == 0.5
    assert found["duplicate_line_share"] == 0.25
    assert found["short_line_share"] == 1.0


def test_an_empty_text_has_zeros():
    found = signals("")
    assert found.pop("language") == "und"
    assert set(found.values()) == {0}


def test_only_the_largest_of_the_symbols_counts():
    assert signals("a # b # c ...")["symbol_ratio"] == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "All human beings are born free and equal in dignity and rights."),
        ("fr", "Tous les êtres humains naissent libres et égaux en dignité et en droits."),
        ("de", "Alle Menschen sind frei und gleich an Würde und Rechten geboren."),
        ("es", "Todos los seres humanos nacen libres e iguales en dignidad y derechos."),
        ("ru", "Все люди рождаются свободными и равными в своем достоинстве и правах."),
        ("ja", "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"),
        ("zh", "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。"),
        ("ar", "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق."),
        ("und", "12 34 56 — !!! ok"),
        ("und", ""),
    ],
)
def test_the_language_is_named(code, text):
    assert language(text)[0] == code


def test_the_language_score_is_rounded_and_repeatable():
    score = language(PROSE)[1]
    assert score == round(score, 3) == language(PROSE)[1]


def test_policies_and_placeholders_are_boilerplate_whatever_their_case():
    text = "Read on.\nWe use cookies to improve.\nLorem IPSUM dolor\nPlease enable JavaScript.\nA cookie is sweet."
    assert signals(text)["boilerplate_line_share"] == 3 / 5
    assert signals("if (a) { b(); } else { c(); }")["curly_bracket_count"] == 2


@pytest.mark.parametrize(
    ("text", "fineweb", "c4"),
    [
        ("One two three four five. Six seven! Eight? Nine.", 4, 4),
        ("One two three four five", 1, 0),  # no mark at its end
        ("One two three four five...", 1, 0),
        ("One two three four five.[12]", 1, 1),
        ("One two three four five.[edit] [citation needed]", 1, 1),
        ('He said: "One two three."', 1, 1),
        ("One two three four.", 1, 0),
        ("One two three.\nOne two.", 1, 0),
        ("This page needs JavaScript to be shown.", 0, 0),
        ("Read our privacy policy before you go.", 0, 0),
        ("One two three four " + "x" * 1_001 + ".", 0, 0),
        ("One two three four " + "x" * 999 + ".", 1, 1),
        ("", 0, 0),
    ],
)
def test_sentences_are_those_of_lines_that_c4_and_fineweb_keep(text, fineweb, c4):
    found = signals(text)
    assert (found["sentence_count"], found["c4_sentence_count"]) == (fineweb, c4)


def test_what_no_encoding_knew_and_filler_text_are_counted():
    found = signals("A \ufffd and \ufffd\ufffd. LOREM IPSUM; lorem ipsum")
    assert (found["replacement_count"], found["lorem_ipsum_count"]) == (3, 2)


@pytest.mark.parametrize(
    ("text", "words", "mean"),
    [
        ("城里的老渡口，在星期二的会议上被决定关闭。" * 10, 100, None),
        ("すべての人間は、生まれながらにして自由であり、" * 10, 110, None),
        ("มนุษย์ทั้งหลายเกิดมามีอิสระ", 10, None),
        ("မြန်မာစာ", 2, None),
        ("The word 城里 is one of ten.", 7, 20 / 7),
        ("राम की किताब नदी के पास है", 7, 20 / 7),
    ],
)
def test_words_are_counted_in_scripts_without_spaces_and_their_length_is_not(text, words, mean):
    found = signals(text)
    assert found["word_count"] == words
    assert found["mean_word_length"] == (mean if mean is None else pytest.approx(mean))
    assert found["alphabetic_word_share"] >= 0.9


def test_adult_and_spam_words_are_counted_as_whole_words():
    found = signals("Hot MILF xxx! Scunthorpe viagra-casino, therapist")
    assert found["adult_word_share"] == pytest.approx(2 / 7)
    assert found["spam_word_share"] == pytest.approx(2 / 7)
    assert signals("Essex, Middlesex; the cocktail analyst titled it")["adult_word_share"] == 0


def test_the_word_lists_hold_what_the_word_splitter_gives():
    assert all(words(word) == [word] for word in ADULT_WORDS | SPAM_WORDS)
    assert not ADULT_WORDS & SPAM_WORDS


@pytest.mark.parametrize(
    ("text", "emails", "ips"),
    [
        ("write to a.b+c@example.org, or x@y.co.uk.", 2, 0),
        ("@handle me@ @b.c a@b", 0, 0),
        ("ping 10.0.0.1, 255.255.255.255 and 8.8.8.8.", 0, 3),
        ("256.1.1.1 1.2.3 1.2.3.4.5 v1.2.3.4x", 0, 0),
        ("\u0661.\u0662.\u0663.\u0664", 0, 0),
    ],
)
def test_addresses_are_counted(text, emails, ips):
    found = signals(text)
    assert (found["email_count"], found["ip_count"]) == (emails, ips)


@pytest.mark.parametrize("piece", ["a", "a.", "1.", "a@", "1", "{", "\n", "- ", "x\n\n"])
def test_no_signal_is_slow_on_a_long_run(piece):
    found = signals(piece * 300_000)  # a search that goes back at every letter would take hours
    assert found["char_count"] == 300_000 * len(piece)

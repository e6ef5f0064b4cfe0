"""Each packaged rule has a text that it alone removes. The texts begin with prose, since a language is told by it."""

from itertools import count, islice, product
from string import ascii_lowercase

import pytest

from pipeline.text.rules import read_rules
from pipeline.text.signals import SIGNALS, signals

PROSE = [
    "The baker of our village opens her door at five, long before anybody else is awake.",
    "Warm light falls on wet stones, and soon a smell of rye climbs up between narrow houses.",
    "My grandmother used to say that bread knows who kneads it, which nobody dared to doubt.",
    "On market days farmers arrive with carts full of cabbages, onions and late apples.",
    "They argue about rain, about prices, about roads which no mayor has ever repaired.",
    "Children run between their legs until somebody shouts at them from a window above.",
    "At noon everything goes quiet; only pigeons walk across an empty square.",
    "A blind musician once played here every summer, until his violin was stolen.",
    "People collected money for another instrument, yet he never returned for it.",
    "It still hangs behind glass at town hall, beside portraits of forgotten councillors.",
    "Visitors ask why such an ordinary fiddle deserves so much space and such good locks.",
    "Whoever explains it tells a different story, so I have stopped believing any one of those.",
    "Perhaps truth matters less than having something worth repeating on winter evenings.",
    "When snow comes, roads close early, lamps burn late, and every tale grows a little longer.",
]
TEXT = " ".join(PROSE)
LINES = "\n".join(PROSE)


def fresh(size=6):
    """Words that stand nowhere else, of so many letters."""
    return ("".join(letters) for letters in product("bcdfghjklm", *["aeioubdgkl"] * (size - 1)))


def words(number, size=6):
    return " ".join(islice(fresh(size), number))


def spaced(pieces, size=7):
    """The pieces, a word of its own after each."""
    return " ".join(f"{piece} {word}" for piece, word in zip(pieces, fresh(size), strict=False))


def twice(n, share):
    """Passages of n words, each two times, so that their second times make up this share of all words' characters."""
    source = fresh(6)
    passages = [" ".join(islice(source, n)) for _ in range(40)]
    total = 40 * n * 6 / share
    rest = total - 80 * n * 6 - 80 * 7 - len(TEXT.replace(" ", ""))
    return f"{TEXT} {spaced([*passages, *passages])} {words(round(rest / 8), 8)}"


def often(parts, share):
    """An n-gram of `parts` equal words so often that it makes up this share."""
    gram = " ".join(["internationale", "standardization", "revolutionaries", "straightforward"][:parts])
    chars, plain = len(gram.replace(" ", "")), len(TEXT.replace(" ", ""))
    times = next(n for n in count(2) if n * chars / (plain + n * (chars + 7)) > share)
    return f"{TEXT} {spaced([gram] * times)}"


def lines_twice(number):
    """Lines of four long words, each two times, other lines between them."""
    source = fresh(14)
    long = [" ".join(islice(source, 4)) for _ in range(number)]
    return "\n".join(f"{one}\n{other}" for one, other in zip([*long, *long], PROSE, strict=False))


def paragraphs_twice():
    """Paragraphs of three short lines, each two times, among others of several lines; shares by characters differ."""
    short, long = fresh(3), fresh(6)
    again = ["\n".join(islice(short, 3)) for _ in range(200)]
    other = ["\n".join(islice(long, 2)) for _ in range(410)]
    return "\n\n".join(
        [*(f"{one}\n\n{two}" for one, two in zip([*again, *again], other, strict=False)), *other[400:], TEXT]
    )


SPARE = (
    "Fresh bread smells wonderful each morning. Our neighbours buy twelve rolls before work starts. Some people prefer "
    "dark rye; others always choose white loaves. Nobody complains about prices here. Children usually get small sweet "
    "pastries for free. Later our bakery sells coffee, sandwiches, soup. Many tourists arrive by bus around noon. They "
    "take pictures, ask questions, eat cake. Evening brings quiet streets again."
)
GOPHER = {
    "word_count >= 50": "Rain fell. She closed the door and waited. Nobody came that night. He wrote to her. "
    "Letters took weeks. Snow covered all roads. Spring came late. They met again by chance.",
    "word_count <= 100000": f"{TEXT} {words(100_000)}",
    "mean_word_length >= 3": f"{TEXT} {' '.join(map(''.join, product(ascii_lowercase, repeat=2)))}",
    "mean_word_length <= 10": f"{TEXT} {words(400, 14)}",
    "symbol_ratio <= 0.1": " ".join(f"#{word}" if place % 5 == 0 else word for place, word in enumerate(TEXT.split())),
    "bullet_line_share <= 0.9": "\n".join(f"- {line}" for line in PROSE),
    "ellipsis_line_share <= 0.3": "\n".join(line[:-1] + "..." if n % 3 == 0 else line for n, line in enumerate(PROSE)),
    "alphabetic_word_share >= 0.8": f"{TEXT} {' '.join(str(10_000 + n) for n in range(80))}",
    "stop_word_count >= 2": SPARE,
    "duplicate_line_share <= 0.3": "\n".join(
        f"{one} {two}\nI" for one, two in zip(PROSE[::2], PROSE[1::2], strict=True)
    ),
    "duplicate_paragraph_share <= 0.3": LINES + "\n\nI" * 5,
    "duplicate_line_char_share <= 0.2": lines_twice(7),
    "duplicate_paragraph_char_share <= 0.2": paragraphs_twice(),
    "top_2gram_share <= 0.2": often(2, 0.205),
    "top_3gram_share <= 0.18": often(3, 0.183),
    "top_4gram_share <= 0.16": often(4, 0.163),
    **{f"duplicate_{n}gram_share <= {0.2 - n / 100:g}": twice(n, 0.205 - n / 100) for n in range(5, 11)},
}
UNDECIDED = " ".join("7" * (40 + n) for n in range(20)) + " " + TEXT
C4 = {
    "language_score >= 0.99": UNDECIDED,
    "char_count <= 190000": f"{TEXT} {words(28_000)}",
    "c4_sentence_count >= 3": "\n".join(line[:-1] for line in PROSE),
    "lorem_ipsum_count <= 0": f"{LINES}\nLorem Ipsum dolor sit.",
    "curly_bracket_count <= 0": f"{TEXT} Write {{x}} there.",
    "adult_word_share <= 0": f"{TEXT} Some call it porn.",
}
OWN = {
    "language_score >= 0.65": UNDECIDED,
    "sentence_count >= 5": TEXT.replace(". ", "; "),
    "lorem_ipsum_count <= 0": C4["lorem_ipsum_count <= 0"],
    "curly_bracket_count <= 0": C4["curly_bracket_count <= 0"],
    "terminal_punctuation_share >= 0.12": TEXT + "".join("\n" + words(9, size) for size in range(4, 13)),
    "short_line_share <= 0.67": LINES + "".join(
        f"\n{one} {two}." for one, two in islice(zip(*[fresh(9)] * 2, strict=True), 40)
    ),
    "duplicate_line_char_share <= 0.01": f"{LINES}\nremember these things\n{SPARE}\nremember these things",
    "lines_per_word <= 0.3": LINES + "".join(
        f"\n{one} {two} {three}." for one, two, three in islice(zip(*[fresh(10)] * 2, fresh(9), strict=False), 1_200)
    ),
}  # fmt: skip
WITHOUT = {"duplicate_line_char_share <= 0.2", "duplicate_paragraph_char_share <= 0.2"}  # of FineWeb's rules
FINEWEB = {rule: text for rule, text in GOPHER.items() if rule not in WITHOUT} | OWN
TEXTS = {"gopher": GOPHER, "c4": C4, "fineweb": FINEWEB}
EVERY = [(name, rule) for name, texts in TEXTS.items() for rule in texts]


@pytest.mark.parametrize("name", TEXTS)
def test_every_rule_of_a_packaged_file_has_its_text_and_plain_prose_breaks_none(name, tmp_path):
    rules = read_rules([name], tmp_path, SIGNALS)
    assert [str(rule) for rule in rules if rule.refuses(signals(LINES)[rule.signal])] == []
    assert {str(rule) for rule in rules} == set(TEXTS[name])


@pytest.mark.parametrize(("name", "rule"), EVERY)
def test_a_rule_removes_a_text_that_no_other_rule_of_its_file_removes(name, rule, tmp_path):
    text = TEXTS[name][rule]
    found = signals(text if "\n" in text or text.endswith(".") else f"{text}.")
    refusing = [one for one in read_rules([name], tmp_path, SIGNALS) if one.refuses(found[one.signal])]
    assert [(str(one), found[one.signal]) for one in refusing] == [(rule, found[rule.split()[0]])]

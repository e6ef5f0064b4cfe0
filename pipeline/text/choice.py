"""Which blocks of a page are its main text, once the chance of each is known.

Choice: of all choices the one with the best expected F1: certain pages give what is more likely than not, uncertain
ones give more rather than nothing. Blocks of prose that are laid out alike in several places, the posts of a thread or
the remarks below an article, are judged as one, so that none is cut in the middle. What a page says of itself is
believed where pages whose text is known bear it out: readers' remarks on an article are none of it, nor is a little
hidden text beside much that is shown, and the post of another site goes with the text it is embedded in; what a page
holds twice, for phones and for desks, stands once. Cost: a thread goes out whole when most of it looks like furniture.
Alternative: a bar for each block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.text.blocks import Blocks
from pipeline.text.features import TAG_NUMBER, layout, like, lines
from pipeline.text.names import BIT
from pipeline.text.trees import CERTAIN
from pipeline.text.wording import Numbers, prose_words

GENEROUS = 0.8  # exponent of the chances without prose
PLACES, PROSE = 3, 0.3  # blocks are judged as one that stand alike in as many elements and are prose by that share
CELLS = [TAG_NUMBER[tag] for tag in ("td", "th")]  # of a table, which are alike in every row and are no remarks
LIKELY = CERTAIN * 8 // 10  # chance of prose that is a page's text whatever else is
ENOUGH_WORDS = 40  # of likely prose, for the text to be without remarks
HIDDEN_SHARE = 3  # hidden prose is read where it is more than one in so many of the likely: a fold, a tab, a pay wall
POST, TAKEN = CERTAIN * 3 // 10, CERTAIN * 8 // 10  # chance of posts in a thread that makes them text, and then theirs
EMBEDDED = BIT["embed"] | BIT["blockquote"]  # how sites hand out posts, to be shown where scripts are not run
COPY_WORDS = 40  # of prose in a row, in which a copy differs from a refrain


def chosen(blocks: Blocks, columns: Mapping[str, Numbers], chances: Numbers) -> list[int]:
    """The blocks taken for main text, in order; at least one. `chances` are whole numbers from 0 to CERTAIN.

    A page whose likeliest choice is prose is one text, and what is not prose on it mostly furniture, remarks or
    other stories: the more prose, the less is the benefit of the doubt.
    """
    words, group = columns["words"], kindred(blocks, columns)
    chances = with_posts(columns, together(without_asides(columns, chances), words, group), group)
    first = choose(chances, words, group)
    prose = prose_words(columns)[first].sum() / max(words[first].sum(), 1)
    strict = np.rint(CERTAIN * (chances / CERTAIN) ** (GENEROUS + prose**2)).astype(np.int64)
    return without_copies(blocks, columns, with_embedded(blocks, choose(strict, words, group)))


def without_asides(columns: Mapping[str, Numbers], chances: Numbers) -> Numbers:
    """The chances with none for hidden text and for remarks on an article, where there is text enough without them."""
    prose = prose_words(columns)
    likely = prose * (chances > LIKELY)
    hidden, remarks = columns["in_hidden"] > 0, columns["in_comment"] > 0
    if prose[hidden].sum() * HIDDEN_SHARE < likely[~hidden].sum():
        chances = np.where(hidden, 0, chances)
    thread = columns["says_thread"][0] or columns["address_thread"][0]
    if columns["says_article"][0] and not thread and likely[~remarks].sum() >= ENOUGH_WORDS:
        chances = np.where(remarks, 0, chances)
    return chances


def expected_f1(chances: Numbers, words: Numbers) -> tuple[Numbers, Numbers]:
    """(the blocks, likeliest first; the expected F1 by words of a choice that ends at each of them).

    It is taken as twice the expected words that are right, over the words taken and the expected words of the main
    text: whole numbers until the division. No choice of the same size has a better one.
    """
    order = np.argsort(-chances, kind="stable")
    weights = np.maximum(words[order].astype(np.int64), 1)
    right = np.cumsum(weights * chances[order])
    return order, 2 * right / np.maximum(np.cumsum(weights) * CERTAIN + right[-1], 1)


def choose(chances: Numbers, words: Numbers, group: Numbers) -> list[int]:
    """The blocks, in order, whose choice has the best expected F1, groups whole; at least one.

    Blocks of one group have equal chances (`together`).
    """
    by_group = np.argsort(group, kind="stable")
    order, value = expected_f1(chances[by_group], words[by_group])
    order = by_group[order]
    cut = (group[order][1:] == group[order][:-1]) & (chances[order][1:] == chances[order][:-1])
    value[:-1][cut] = -1
    return sorted(order[: int(np.argmax(value)) + 1].tolist())


def together(chances: Numbers, words: Numbers, group: Numbers) -> Numbers:
    """The chances with those of every group made one: their mean by words."""
    number = np.unique(group, return_inverse=True)[1]
    weights = np.maximum(words.astype(np.int64), 1)
    mean: Numbers = np.rint(np.bincount(number, weights * chances) / np.bincount(number, weights)).astype(np.int64)
    return mean[number]


def kindred(blocks: Blocks, columns: Mapping[str, Numbers]) -> Numbers:
    """A number that blocks share which are judged as one: prose laid out alike in PLACES elements or more."""
    group = like(blocks)
    words, prose = np.maximum(columns["words"], 1), prose_words(columns)
    inside = group * len(blocks.parent) + lines(blocks)[1]
    places = np.bincount(np.unique(inside) // len(blocks.parent), minlength=int(group.max()) + 1)
    is_kindred = (places >= PLACES) & (np.bincount(group, prose) >= PROSE * np.bincount(group, words))
    alone = ~is_kindred[group] | np.isin(columns["tag"], CELLS)
    numbers: Numbers = np.where(alone, len(places) + np.arange(len(group)), group)
    return numbers


def without_copies(blocks: Blocks, columns: Mapping[str, Numbers], taken: Sequence[int]) -> list[int]:
    """The taken blocks without the second of two equal runs of them; of the two what is shown stays, else the first.

    A shown refrain is no copy; what is hidden in one place and shown in another always is.
    """
    prose, hidden = prose_words(columns), columns["in_hidden"] > 0
    out: set[int] = set()
    for first, second in equal_runs([" ".join(blocks.texts[block].split()) for block in taken]):
        unseen, copy_unseen = (any(hidden[taken[place]] for place in run) for run in (first, second))
        many = len(second) > 1 and sum(prose[taken[place]] for place in second) >= COPY_WORDS
        if many or unseen != copy_unseen:
            out.update(first if unseen and not copy_unseen else second)
    return [block for place, block in enumerate(taken) if place not in out]


def with_posts(columns: Mapping[str, Numbers], chances: Numbers, group: Numbers) -> Numbers:
    """The chances with those of a thread's posts raised, where its software or schema says that it is one.

    `chances` are of groups as one; on other pages, and of posts that are hardly text, they stay.
    """
    if not columns["says_thread"][0]:
        return chances
    number = np.unique(group, return_inverse=True)[1]
    posts = (columns["in_post"] > 0) | (columns["in_comment"] > 0)
    raised = posts & (np.bincount(number)[number] > 1) & (chances >= POST)
    return np.where(raised, np.maximum(chances, TAKEN), chances)


def with_embedded(blocks: Blocks, taken: Sequence[int]) -> list[int]:
    """The taken blocks with the posts of other sites that stand before or after one of them, each whole."""
    embedded = (layout(blocks).inherited[lines(blocks)[0]] & EMBEDDED) == EMBEDDED
    if not embedded.any():
        return list(taken)
    chosen_ones = np.zeros(len(embedded), bool)
    chosen_ones[taken] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[False], embedded, [False]]).astype(np.int8)))
    for first, end in edges.reshape(-1, 2).tolist():
        chosen_ones[first:end] |= chosen_ones[max(first - 1, 0) : end + 1].any()
    return [int(block) for block in np.flatnonzero(chosen_ones)]


def equal_runs(keys: Sequence[str]) -> Iterator[tuple[range, range]]:
    """Places of some keys in a row that came in the same row before: (where last, where again)."""
    last: dict[str, int] = {}
    before = []  # where the key of each place came last, -1 for nowhere
    for place, key in enumerate(keys):
        before.append(last.get(key, -1))
        last[key] = place
    begin = 0
    for end in range(1, len(keys) + 1):
        goes_on = end < len(keys) and -1 < before[begin] < before[end] == before[end - 1] + 1 < begin
        if not goes_on:
            if before[begin] >= 0:
                yield range(before[begin], before[begin] + end - begin), range(begin, end)
            begin = end

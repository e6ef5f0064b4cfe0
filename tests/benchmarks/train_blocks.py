"""Trains the block classifier of pipeline/text/main_text.py, and says what it is worth on pages it has not seen.

    python tests/benchmarks/train_blocks.py FOLDER [--folds N] [--write] [--scores]

FOLDER is that of bench_extraction.py; all its pages are trained on. First the model, which `--write` puts in place;
then N-fold cross-validation over the pages' hosts (5; 0: none), whose F1 `--scores` prints page by page. Same pages,
same model, to the byte: seeds are fixed. Of one core 25 seconds for the pages, a minute and a half for the
model and as much for each fold.
"""

import copy
import difflib
import itertools
import json
import sys
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from bench_extraction import SOURCES, WELL_FORMED, bag_f1, expected_texts, mean, pages_of

from pipeline.text import blocks as markup
from pipeline.text.choice import chosen
from pipeline.text.decode import decode
from pipeline.text.extract import by_resiliparse
from pipeline.text.features import features
from pipeline.text.main_text import MODEL, agreement
from pipeline.text.normalize import words
from pipeline.text.trees import SCALE, Trees, probabilities

TREES, DEPTH, RATE = 400, 6, 0.07
BINS = 48
OTHERS = 300  # blocks of a page at most that are trained on and are no main text; their weight stays the page's
ROWS_SHARE, COLUMNS_SHARE = 0.3, 0.15  # of which each tree sees
SMOOTHING = 15.0  # pseudo-weight at zero in every leaf; the mean row weighs 1
PARAGRAPH = 10  # words
LEAST_LEFT, MOST_LEFT = 2, 5  # paragraphs of an article that is shortened
SHORT_WEIGHT = 0.5  # of such a page
GRAM = 3
ABOUT = (
    "Trained by tests/benchmarks/train_blocks.py on the human-checked main text of the dev split of the "
    "Web Content Extraction Benchmark (wcxb, commit c039d5e), https://creativecommons.org/licenses/by/4.0/, and of "
    "the article-extraction-benchmark (commit 4a3bc97, MIT); the pages' own text is not in this file."
)


# --- truth: which blocks are main text


def covered(page_words, true_words):
    """One flag a word of the page: whether it lies in a run of words that the true text has at that place."""
    left, right = (
        [tuple(some[i : i + GRAM]) for i in range(len(some) - GRAM + 1)] for some in (page_words, true_words)
    )
    common = set(left) & set(right)
    where = [i for i, gram in enumerate(left) if gram in common]
    other = [gram for gram in right if gram in common]
    flags = np.zeros(len(page_words), bool)
    matcher = difflib.SequenceMatcher(None, [left[i] for i in where], other, autojunk=False)
    for match in matcher.get_matching_blocks():
        for i in where[match.a : match.a + match.size]:
            flags[i : i + GRAM] = True
    return flags


def labels(block_words, expected):
    """Share of main text in every block: by runs of words, and for short blocks by whole lines near what is sure."""
    flags = covered([word for block in block_words for word in block], words(expected))
    ends = np.cumsum([len(block) for block in block_words])
    shares = np.array(
        [flags[end - len(block) : end].mean() if block else 0.0 for block, end in zip(block_words, ends, strict=True)]
    )
    sure = [i for i, share in enumerate(shares) if share > 0.5 and len(block_words[i]) > GRAM]
    known = {tuple(words(line)) for line in expected.split("\n")}
    for i in range(max(sure[0] - 5, 0), min(sure[-1] + 3, len(shares))) if sure else ():
        if len(block_words[i]) < 8 and tuple(block_words[i]) in known:
            shares[i] = 1.0
    return shares


def examples(folder):
    """One dict a page: source, kind, host; of its blocks columns, labels, weights and words; the words of the truth."""
    truth = expected_texts(folder)
    for body, content_type, url in pages_of(folder, truth):
        source, kind, expected = truth[url]
        page = decode(body, content_type)
        blocks = markup.read(page)
        bags = [words(text) for text in blocks.texts]
        if not bags:
            continue
        second = agreement(blocks.texts, by_resiliparse(page, url)[0])
        about = {"source": source, "kind": kind, "host": ".".join(urlsplit(url).hostname.split(".")[-2:]), "url": url}
        share, sizes = labels(bags, expected), np.array([len(bag) for bag in bags])
        short = shortened(blocks, second, share, sizes, url) if kind == "article" else None
        yield about | {
            "blocks": blocks,
            "bags": bags,
            "truth": Counter(words(expected)),
            "short": short,
            **example(blocks, second, url, share, sizes, len(words(expected))),
        }


def example(blocks, second, url, share, sizes, expected_words):
    """What is trained on of a page: columns, labels and weights of its blocks; pages weigh about the same."""
    weights = ((sizes + 0.5) / (expected_words + 30)) ** 0.75
    return {"columns": features(blocks, second, url), "labels": share, "weights": weights}


def shortened(blocks, second, share, sizes, url):
    """An article as it would be if it were over after a few paragraphs, all around it as it is; None for a short one.

    Benchmarks prefer long articles: a classifier that knows only those takes the teasers beside a short one.
    """
    paragraphs = np.flatnonzero((share > 0.5) & (sizes >= PARAGRAPH))
    if len(paragraphs) <= MOST_LEFT:
        return None
    left = np.random.default_rng(zlib.crc32(url.encode())).integers(LEAST_LEFT, MOST_LEFT + 1)
    rows = np.flatnonzero((share < 0.5) | (np.arange(len(share)) <= paragraphs[left - 1]))
    short = copy.copy(blocks)
    for name in ("texts", "link_chars", "links", "holder"):
        setattr(short, name, [getattr(blocks, name)[row] for row in rows])
    share, sizes = share[rows], sizes[rows]
    found = example(short, [second[row] for row in rows], url, share, sizes, (sizes * share).sum())
    return found | {"weights": SHORT_WEIGHT * found["weights"]}


# --- training


def fit(pages, seed=1):
    """Boosted symmetric trees on the blocks of the pages: Newton steps on the logistic loss of soft labels."""
    names = tuple(pages[0]["columns"])
    samples = [(page, *sample(page["labels"], page["weights"])) for page in pages]
    table = np.concatenate([np.stack([page["columns"][name][rows] for name in names]) for page, rows, _ in samples], 1)
    label = np.concatenate([page["labels"][rows] for page, rows, _ in samples])
    weight = np.concatenate([weights for *_, weights in samples])
    weight /= weight.mean()
    edges = [np.unique(np.quantile(row, np.linspace(0, 1, BINS + 1)[1:-1], method="nearest")) for row in table]
    binned = np.stack([np.searchsorted(edge, row, "left") for edge, row in zip(edges, table, strict=True)])
    binned = binned.astype(np.uint8)
    base = np.average(label, weights=weight)
    start = round(float(np.log(base / (1 - base))) * SCALE)
    odds = np.full(len(label), start / SCALE)
    random = np.random.default_rng(seed)
    trees = []
    for _ in range(TREES):
        p = 1 / (1 + np.exp(-odds))
        gradient, curvature = weight * (label - p), weight * p * (1 - p)
        rows = np.flatnonzero(random.random(len(label)) < ROWS_SHARE)
        choice = random.choice(len(names), int(len(names) * COLUMNS_SHARE), replace=False)
        seen = {column: (binned[column][rows], len(edges[column])) for column in choice if len(edges[column])}
        asked, node = grow(seen, gradient[rows], curvature[rows])
        top = np.bincount(node, gradient[rows], 1 << DEPTH)
        bottom = np.bincount(node, curvature[rows], 1 << DEPTH)
        leaf = np.rint(RATE * SCALE * top / (bottom + SMOOTHING)).astype(int)
        node = sum((binned[column] > cut).astype(np.int64) << level for level, (column, cut) in enumerate(asked))
        odds += leaf[node] / SCALE
        trees.append(([c for c, _ in asked], [float(edges[c][cut]) for c, cut in asked], leaf.tolist()))
    feature, threshold, leaf = (tuple(map(tuple, part)) for part in zip(*trees, strict=True))
    return Trees(ABOUT, names, start, feature, threshold, leaf)


def trained(pages):
    """The mean of two models: of the pages, and of the pages with shortened articles beside them.

    Cross-validated word F1 on aeb and wcxb: 0.961 and 0.882 without shortened articles, 0.969 and 0.875 with them,
    0.968 and 0.882 the mean, which is one model again.
    """
    plain = fit(pages)
    short = fit([*pages, *(page["short"] for page in pages if page["short"])])
    return Trees(
        ABOUT,
        plain.columns,
        round((plain.start + short.start) / 2),
        plain.feature + short.feature,
        plain.threshold + short.threshold,
        tuple(tuple(round(points / 2) for points in leaf) for leaf in plain.leaf + short.leaf),
    )


def sample(label, weight):
    """(rows of a page that are trained on, their weights): what is main text, and OTHERS of the rest, for all of it."""
    others = np.flatnonzero(label < 0.5)
    if len(others) <= OTHERS:
        return np.arange(len(label)), weight
    kept = np.random.default_rng(len(label)).choice(others, OTHERS, replace=False)
    weight = weight.copy()
    weight[kept] *= weight[others].sum() / weight[kept].sum()
    rows = np.union1d(np.flatnonzero(label >= 0.5), kept)
    return rows, weight[rows]


def grow(binned, gradient, curvature):
    """(the (column, cut) of every level of one tree, each the one that gains most over all nodes together; the leaf of
    every row).

    `binned` has, of every column that may be asked, the bins of the rows and how many cuts part them. Only rows whose
    last answer was yes are summed, bin by bin: those of the others are what is left of the node above.
    """
    node = np.zeros(len(gradient), np.int64)
    yes = slice(None)
    above = dict.fromkeys(binned, 0.0)
    asked = []
    for level in range(DEPTH):
        best = (-np.inf, 0, 0)
        base, slopes = node[yes] * BINS, (gradient[yes], curvature[yes])
        for column, (bins, cuts) in binned.items():
            place = base + bins[yes]
            sums = np.stack([np.bincount(place, x, BINS << level).reshape(-1, BINS) for x in slopes])
            if level:
                half = sums.shape[1] // 2  # the node's number has its last answer as the highest digit
                sums[:, :half] = above[column] - sums[:, half:]
            above[column] = sums
            left = np.cumsum(sums, axis=2)
            right = left[:, :, -1:] - left
            gains = (top[:, :cuts] ** 2 / (bottom[:, :cuts] + SMOOTHING) for top, bottom in (left, right))
            gain = sum(gains).sum(axis=0)
            cut = int(gain.argmax())
            best = max(best, (float(gain[cut]), int(column), cut))
        asked.append(best[1:])
        answers = binned[best[1]][0] > best[2]
        node += answers.astype(np.int64) << level
        yes = np.flatnonzero(answers)
    return asked, node


# --- what it is worth


def page_f1(page, chances):
    """F1 by words of what is chosen by the chances of the blocks."""
    taken = chosen(page["blocks"], page["columns"], chances)
    return bag_f1(Counter(word for block in taken for word in page["bags"][block]), page["truth"])


def report(name, scored):
    """A line for each benchmark: mean F1 over all, over articles, forums and documentation, and by kind."""
    for source in SOURCES:
        some = [(page, f1) for page, f1 in scored if page["source"] == source]
        by_kind = {kind: mean(f1 for page, f1 in some if page["kind"] == kind) for kind in {p["kind"] for p, _ in some}}
        well = mean(f1 for page, f1 in some if page["kind"] in WELL_FORMED)
        kinds = "  ".join(f"{kind} {f1:.3f}" for kind, f1 in sorted(by_kind.items()))
        print(f"{f'{source}, {name}':24} {mean(f1 for _, f1 in some):.4f}  {well:.4f}  {kinds}", flush=True)


def cross_validated(pages, folds):
    """(page, F1) of every page, by a model that no page of its fold of hosts had a part in."""
    for fold in range(folds):
        held = [zlib.crc32(page["host"].encode()) % folds == fold for page in pages]
        model = trained([page for page, out in zip(pages, held, strict=True) if not out])
        for page in itertools.compress(pages, held):
            yield page, page_f1(page, probabilities(model, page["columns"]))


def main():
    folder, folds = Path(sys.argv[1]), int(sys.argv[sys.argv.index("--folds") + 1]) if "--folds" in sys.argv else 5
    pages = list(examples(folder))
    if "--write" in sys.argv:
        model = trained(pages)
        fields = {name: getattr(model, name) for name in Trees.__struct_fields__}
        rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        MODEL.write_text("{\n" + ",\n".join(rows) + "\n}\n")
        print(f"{MODEL}: {MODEL.stat().st_size:,} bytes", flush=True)
    if folds:
        print("                         all     art+for+doc  by page type")
        scored = list(cross_validated(pages, folds))
        report(f"{folds} folds", scored)
        if "--scores" in sys.argv:
            for page, f1 in scored:
                print(f"{f1:.4f} {page['host']} {page['url']}")


if __name__ == "__main__":
    main()

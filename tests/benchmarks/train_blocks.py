"""Trains the block classifier of pipeline/text/main_text.py, and says what it is worth on pages it has not seen.

    python tests/benchmarks/train_blocks.py FOLDER [--folds N] [--write]

FOLDER is that of bench_extraction.py. Trained on the pages of source `wcxb` alone (web-content-extraction-benchmark,
dev split, human-checked text under CC-BY-4.0); N-fold cross-validation over their hosts first (0: none), then the other
pages as a test that nothing was tuned on. `--write` puts the model in place. Same pages, same model: seeds are fixed.
"""

import difflib
import json
import sys
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from bench_extraction import SOURCES, WELL_FORMED, bag_f1, expected_texts, mean, pages_of

from pipeline.text import blocks as markup
from pipeline.text.decode import decode
from pipeline.text.extract import by_resiliparse
from pipeline.text.features import features
from pipeline.text.main_text import MODEL, agreement, chosen
from pipeline.text.normalize import words
from pipeline.text.trees import SCALE, Trees

TREES, DEPTH, RATE = 300, 6, 0.08
BINS = 48
ROWS_SHARE, COLUMNS_SHARE = 0.4, 0.25  # of which each tree sees
SMOOTHING = 15.0  # pseudo-weight at zero in every leaf; the mean row weighs 1
GRAM = 3
ABOUT = (
    "Trained by tests/benchmarks/train_blocks.py on the human-checked main text of the dev split of the "
    "Web Content Extraction Benchmark (wcxb, commit c039d5e), https://creativecommons.org/licenses/by/4.0/; "
    "the pages' own text is not in this file."
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
        columns = features(blocks, agreement(blocks.texts, by_resiliparse(page, url)[0]), url) if bags else {}
        counts = np.array([len(bag) for bag in bags])
        yield {
            "source": source,
            "kind": kind,
            "host": ".".join(urlsplit(url).hostname.split(".")[-2:]),
            "columns": columns,
            "labels": labels(bags, expected),
            "weights": ((counts + 0.5) / (len(words(expected)) + 30)) ** 0.75,  # pages weigh about the same
            "bags": bags,
            "truth": Counter(words(expected)),
        }


# --- training


def fit(pages, seed=1):
    """Boosted symmetric trees on the blocks of the pages: Newton steps on the logistic loss of soft labels."""
    pages = [page for page in pages if page["columns"]]
    names = tuple(pages[0]["columns"])
    table = np.concatenate([np.stack([page["columns"][name] for name in names]) for page in pages], axis=1)
    label = np.concatenate([page["labels"] for page in pages])
    weight = np.concatenate([page["weights"] for page in pages])
    weight /= weight.mean()
    edges = [np.unique(np.quantile(row, np.linspace(0, 1, BINS + 1)[1:-1], method="nearest")) for row in table]
    binned = np.stack([np.searchsorted(edge, row, "left") for edge, row in zip(edges, table, strict=True)])
    binned = binned.astype(np.int16)
    base = np.average(label, weights=weight)
    start = round(float(np.log(base / (1 - base))) * SCALE)
    odds = np.full(len(label), start / SCALE)
    random = np.random.default_rng(seed)
    trees = []
    for _ in range(TREES):
        p = 1 / (1 + np.exp(-odds))
        gradient, curvature = weight * (label - p), weight * p * (1 - p)
        rows = random.random(len(label)) < ROWS_SHARE
        choice = random.choice(len(names), int(len(names) * COLUMNS_SHARE), replace=False)
        seen = {column: (binned[column][rows].astype(np.int64), len(edges[column])) for column in choice}
        asked = grow(seen, gradient[rows], curvature[rows])
        node = sum((binned[column] > cut).astype(np.int64) << level for level, (column, cut) in enumerate(asked))
        top = np.bincount(node[rows], gradient[rows], 1 << DEPTH)
        bottom = np.bincount(node[rows], curvature[rows], 1 << DEPTH)
        leaf = np.rint(RATE * SCALE * top / (bottom + SMOOTHING)).astype(int)
        odds += leaf[node] / SCALE
        trees.append(([c for c, _ in asked], [float(edges[c][cut]) for c, cut in asked], leaf.tolist()))
    feature, threshold, leaf = (tuple(map(tuple, part)) for part in zip(*trees, strict=True))
    return Trees(ABOUT, names, start, feature, threshold, leaf)


def grow(binned, gradient, curvature):
    """The (column, cut) of every level of one tree: each the one that gains most over all nodes together.

    `binned` has, of every column that may be asked, the bins of the rows and how many cuts part them.
    """
    node = np.zeros(len(gradient), np.int64)
    asked = []
    for level in range(DEPTH):
        best = (-np.inf, 0, 0)
        base = node * BINS
        for column, (bins, cuts) in binned.items():
            place = base + bins
            sums = [np.bincount(place, x, BINS << level).reshape(-1, BINS) for x in (gradient, curvature)]
            left = [np.cumsum(x, axis=1)[:, :cuts] for x in sums]
            right = [x.sum(axis=1, keepdims=True) - before for x, before in zip(sums, left, strict=True)]
            gain = sum(top**2 / (bottom + SMOOTHING) for top, bottom in (left, right)).sum(axis=0)
            cut = int(gain.argmax())
            best = max(best, (float(gain[cut]), int(column), cut))
        asked.append(best[1:])
        node += (binned[best[1]][0] > best[2]).astype(np.int64) << level
    return asked


# --- what it is worth


def page_f1(model, page):
    """F1 by words of what the model chooses."""
    if not page["columns"]:
        return bag_f1(Counter(), page["truth"])
    taken = chosen(model, page["columns"])
    return bag_f1(Counter(word for block in taken for word in page["bags"][block]), page["truth"])


def report(name, scored):
    """One line: mean F1 over all, over articles, forums and documentation, and by kind."""
    by_kind = {kind: mean(f1 for page, f1 in scored if page["kind"] == kind) for kind in {p["kind"] for p, _ in scored}}
    well = mean(f1 for page, f1 in scored if page["kind"] in WELL_FORMED)
    kinds = "  ".join(f"{kind} {f1:.3f}" for kind, f1 in sorted(by_kind.items()))
    print(f"{name:24} {mean(f1 for _, f1 in scored):.4f}  {well:.4f}  {kinds}", flush=True)


def main():
    folder, folds = Path(sys.argv[1]), int(sys.argv[sys.argv.index("--folds") + 1]) if "--folds" in sys.argv else 5
    pages = list(examples(folder))
    known, fresh = ([page for page in pages if page["source"] == source] for source in SOURCES)
    print("                         all     art+for+doc  by page type")
    scored = []
    for fold in range(folds):
        held = [zlib.crc32(page["host"].encode()) % folds == fold for page in known]
        model = fit([page for page, out in zip(known, held, strict=True) if not out])
        scored += [(page, page_f1(model, page)) for page, out in zip(known, held, strict=True) if out]
    if scored:
        report(f"{SOURCES[0]}, {folds} folds", scored)
    model = fit(known)
    report(f"{SOURCES[1]}, never trained on", [(page, page_f1(model, page)) for page in fresh])
    report(f"{SOURCES[0]}, trained on", [(page, page_f1(model, page)) for page in known])
    if "--write" in sys.argv:
        fields = {name: getattr(model, name) for name in Trees.__struct_fields__}
        rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        MODEL.write_text("{\n" + ",\n".join(rows) + "\n}\n")
        print(f"{MODEL}: {MODEL.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

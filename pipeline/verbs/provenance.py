"""What every card says of a corpus, whoever writes it: its columns, whose the texts are, whose the recipe is."""

from __future__ import annotations

SPLITS = {"train": "train", "val": "validation"}  # as files and folders have it, and as cards say it
SIZES = (  # the Hub's own names
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)
FIELDS = (
    ("url", "canonical address"),
    ("doc_id", "hash of it: the identity of a document in all artefacts"),
    ("host", "of the address"),
    ("title", "of the page"),
    ("text", "main text, normalised"),
    ("language", "as detected"),
    ("words", "how many"),
    ("score", "karma of the link; of one that a list of addresses names at least the karma asked for (links.karma)"),
    ("created", "first posted, seconds since 1970, UTC; null where a list of addresses alone named it"),
    ("subreddits", "that posted it; none where a list of addresses alone named it"),
    ("copied_words", "in paragraphs that many documents share; null where nobody looked (corpus.copied_paragraphs)"),
)
RECIPE = "the recipe of WebText (Radford et al. 2019, section 2.1)"
LICENCES = (
    "The texts belong to those who wrote them; this tool gives nobody a right to them. Whether they may be used, and "
    "for what, differs by country and by page.",
    "Submissions of Reddit, where links come from these, fall under Reddit's terms. What their authors delete there "
    "should be deleted here: webtext remove takes it out of every artefact, with a proof.",
    "Robots.txt and opt-outs were obeyed as the settings of the artefact “pages” say. Links and decisions can be "
    "published without texts: with them, somebody else can build the same.",
)
RADFORD = """@techreport{radford2019language,
  title = {Language Models are Unsupervised Multitask Learners},
  author = {Radford, Alec and Wu, Jeffrey and Child, Rewon and Luan, David and Amodei, Dario and Sutskever, Ilya},
  institution = {OpenAI},
  year = {2019}
}"""


def chosen_by(documents: int, posted: int | None, years: str = "") -> str:
    """How the pages came to be taken: `pages that …`. `posted`: how many were posted on Reddit; None: nobody knows."""
    reddit, listed = f"were linked on Reddit{years} and found enough karma", "a list of addresses named"
    if posted == 0:
        return f"pages that {listed}, by the rest of {RECIPE}"
    if posted == documents:
        return f"pages that {reddit}, by {RECIPE}"
    count = "" if posted is None else f" ({posted:,} of {documents:,})"
    return f"pages that {reddit}{count}, or that {listed}, by {RECIPE}"


def taste(documents: int, posted: int | None) -> str:
    """Whose choice of pages it is, as the beginning of a sentence on what that is no sample of."""
    return "What a list of addresses names" if documents and posted == 0 else "What Reddit's users vote for"

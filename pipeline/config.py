"""Settings: one TOML file in, one frozen value out. Every default of the product stands here, with its unit and source.

Choice: msgspec structs, which validate types and bounds while they decode and cost 10 ms to import. Cost: messages must
be reworded for people, and unknown keys searched for by hand to name the nearest one. Alternative: pydantic, eight
times the import.

Long because all defaults stand in one place.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from pipeline.plaintext import decoded
from pipeline.shards.outcomes import ConfigError

FILE_NAME = "webtext.toml"
PLACEHOLDER_CONTACT = "https://example.org/who-runs-this"

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(gt=0.0)]
NonNegative = Annotated[float, Meta(ge=0.0)]


ENGINES = ("cascade", "trafilatura", "resiliparse", "newspaper")  # that find the main text of a page


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the config file."""


class BuildSettings(Section, frozen=True):
    """`[build]`: how the work is cut and spread. None of it changes a byte of an artefact but `shards`."""

    shards: Annotated[int, Meta(ge=1, le=99_999)] = 4  # fixed for a working directory; about 20,000 pages each
    workers: Count = 0  # processes that share long work; 0 = one a core
    # memory of one machine for the windows of zstandard dumps (2.1 GB each with --long=31); 0 = half of what it has
    windows_bytes: Count = 0
    runner: str = "FnApiRunner"  # any Beam runner; options after `--` of `webtext build` go to it
    # seconds of work: a stage that takes this command no longer starts no jobs of an engine, 8 to 13 s each; 0 = all do
    alone_s: NonNegative = 20.0
    name: str = ""  # what its owner calls the corpus: the title of the report and of the dataset card


class LinksSettings(Section, frozen=True):
    """`[links]`: submissions to one row a URL."""

    submissions: tuple[str, ...] = ()  # globs of dumps, tables, lists, ledgers, archives: docs/links.md
    bigquery: str = ""  # "project.dataset.table", read through Beam, with webtext[gcp]; or export it to Parquet
    bigquery_days: tuple[str, str] = ("2005-06-01", "2017-12-31")  # first and last, UTC; WebText ends with 2017
    karma: int = 3  # Radford et al. 2019, section 2.1: "at least 3 karma"
    karma_of: Literal["max", "sum", "first"] = "max"  # of a link's submissions; "sum": OpenWebText2 (Gao et al. 2020)
    over_18: bool = False  # True keeps links that are only ever posted as over 18
    blocked_hosts: str = ""  # a file, one host a line, instead of the built-in list of media hosts
    blocked_suffixes: str = ""  # a file, one end of a path a line (.jpg), instead of the built-in list
    blocked_domains: str = ""  # a file, one host a line, each with all names under it; none by default
    blocked_subreddits: str = ""  # a file, one name a line, without r/; none by default


class HarvestSettings(Section, frozen=True):
    """`[harvest]`: Reddit's API to a ledger of submissions, which `links` may read. Credentials never stand here."""

    settle_hours: NonNegative = 36.0  # age at which karma is read for good; of young posts it may be hidden
    recheck_hours: NonNegative = 24.0  # asked for again: what is deleted on Reddit is deleted here (Data API Wiki)
    gap_s: NonNegative = 0.6  # least seconds between two requests: Reddit grants 100 a minute (Data API Wiki)
    deadline_s: Seconds = 30.0  # one request, answer included
    retries: Count = 4  # of 429, 5xx, broken connections; waits of 1, 2, 4, 8 s, or what Retry-After says


class PagesSettings(Section, frozen=True):
    """`[pages]`: links to pointers into WARC files."""

    warc: tuple[str, ...] = ()  # file globs of archives that exist: .warc .warc.gz .warc.zst .wacz .arc .arc.gz
    commoncrawl: tuple[str, ...] = ()  # file globs of Common Crawl's index or of an answer to sql/commoncrawl_pages.sql
    commoncrawl_url: str = "https://data.commoncrawl.org/"  # below it lie the WARC files that the index names
    crawl: Literal["alone", "missing", "never"] = "alone"  # alone: where neither is given; missing: also what they lack
    contact: str = PLACEHOLDER_CONTACT  # in the user agent: how a webmaster reaches you; no crawl without it
    gap_s: NonNegative = 1.0  # least seconds between two requests to one host
    per_address: Count = 1  # requests at one time, and then a gap, to one IP address whatever its names; 0 = no bound
    # a host that fails or throttles is waited for so many gaps (10 minutes at 1 s: a restart), then `passes` ask again;
    # a rest that it states itself (Retry-After) is waited out first, an hour at most each time; a network that is away
    # ends the build after as many. 0 = neither is waited for
    patience_gaps: Count = 600
    most_per_host: Count = 0  # links that a host is asked for, most karma first; the others end as host_limit; 0 = all
    crawls: Count = 0  # at once, each over a group of shards and with these bounds; 0 = 1 here, an engine's slots there
    connections: Positive = 200  # open at once, over all hosts of a crawl
    deadline_s: Seconds = 30.0  # one request: DNS, connect, headers, body and all its redirects
    redirects: Count = 10  # browsers stop at 20; crawlers at 5 (RFC 9309, 2.3.1.2) to 10
    retries: Count = 2  # of a transient failure (5xx, broken connection)
    passes: Positive = 1  # over links whose last end was a passing failure; raise it another day to ask again
    limit_bytes: Positive = 10_000_000  # of a body, on the wire and after decompression
    segment_links: Positive = 1_000  # links of a shard fetched between two commits
    window_links: Positive = 500_000  # that a crawl holds at once, over all its shards; 0.5 to 1 KB of memory each
    round_s: Annotated[float, Meta(ge=600.0)] = 1_800.0  # so long crawls go on before they tell each other
    opt_outs: bool = True  # obey noai, noimageai, TDM-Reservation, Content-Usage
    obey_agents: tuple[str, ...] = ()  # robots.txt's groups for these count like our own: ("GPTBot", "CCBot")
    # name -> "address:port", reached although it is not public: the demo's web, an intranet. Exact names only.
    local_hosts: dict[str, str] = {}


class DocumentsSettings(Section, frozen=True):
    """`[documents]`: pages to text, signals and a MinHash signature."""

    engine: Literal["cascade", "trafilatura", "resiliparse", "newspaper"] = "cascade"
    cpu_s: Seconds = 10.0  # CPU time of one page's extraction, tried twice
    memory_bytes: Positive = 2_000_000_000  # address space the extraction of one page may add
    shingle_words: Positive = 5  # Lee et al. 2022, appendix A: 5-grams
    permutations: Annotated[int, Meta(ge=2, le=1024)] = 128
    seed: Count = 1  # of the permutations; datasketch's default


class CorpusSettings(Section, frozen=True):
    """`[corpus]`: which documents stay. Changing a value re-decides; it extracts nothing again."""

    languages: tuple[str, ...] = ("en",)  # empty = all
    min_words: Count = 96  # about 128 tokens (OpenWebText's floor) at GPT-2's 1.3 tokens an English word
    # each a list of lines `signal >= number`: webtext, gopher, c4, fineweb (pipeline/data/rules), or a file
    rules: tuple[str, ...] = ("webtext",)
    wikipedia_dumps: tuple[str, ...] = ()  # globs of pages-articles dumps (.xml, .xml.bz2) whose text goes out
    wikipedia_reference: str = ""  # the same, made once by `webtext reference wikipedia`; may be a sample
    wikipedia_overlap: Share = 0.5  # share of a document's 8-grams found in either that removes it
    # evaluation files (.txt, .jsonl) cut out by 13-grams (Brown et al. 2020, appendix C)
    contamination: tuple[str, ...] = ()
    redact: tuple[Literal["email", "ip"], ...] = ()  # addresses replaced in the text (Penedo et al. 2024, section 3.7)
    # other builds' working directories or corpora: what stands there is kept there, and its copies go out here
    against: tuple[str, ...] = ()
    copied_paragraphs: Count = 0  # documents in which a paragraph must stand to be boilerplate; 0 = not looked for
    cut_copied: bool = False  # True takes such paragraphs out, where at least min_words are left
    jaccard: Share = 0.8  # of word shingles, at which two documents are near duplicates (Lee et al. 2022)
    measure: Literal["jaccard", "containment"] = "jaccard"  # containment: of the smaller document; finds excerpts too
    bands: Positive = 21  # 21 bands of 6 rows make candidates of 0.998 of the pairs at Jaccard 0.8: 1 - (1 - 0.8^6)^21
    rows: Positive = 6
    bucket: Annotated[int, Meta(ge=2)] = 50  # documents of one band value compared with each other; overflow counted
    sample: Count = 1_000  # removals, near misses and survivors each that the deduplication's quality is measured on
    min_precision: Share = 0.99  # of the sampled near duplicates; below it the build stops
    min_recall: Share = 0.9  # of the documents that had to go; below it for sure (95 %) the build stops
    max_swallowed: Share = 0.05  # of the documents compared, for which one may be the keeper; above it the build stops


class TokenizerSettings(Section, frozen=True):
    """`[tokenizer]`: byte-level BPE."""

    vocab_size: Annotated[int, Meta(ge=257, le=1_000_000)] = 50_257  # GPT-2: 256 bytes, 50,000 merges, end-of-text
    merges: str = ""  # a file of published ones (GPT-2's vocab.bpe) to take instead of learning; it sets the size
    keep: bool = True  # a vocabulary once learnt, while the settings above stay: no token and no model is lost
    min_count: Positive = 1  # a merge must occur so often; 1 = fill the vocabulary, as GPT-2's and `tokenizers`' do


class TokensSettings(Section, frozen=True):
    """`[tokens]`: documents to token ids."""

    val_share: Share = 0.005  # of documents, by hash of doc_id; nanoGPT's OpenWebText split is 0.0005
    seed: Count = 1  # of the order in which a shard's documents are packed; by url, neighbours would share a host


class TrainSettings(Section, frozen=True):
    """`[train]`: GPT-2 on the token shards."""

    preset: Literal["laptop", "nano", "micro", "mini", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"] = "gpt2"
    block: Annotated[int, Meta(ge=2)] = 1024  # tokens of context; GPT-2: 1,024
    batch: Positive = 12  # windows in one micro-batch
    accumulate: Positive = 40  # micro-batches to one optimiser step; 12 x 40 x 1,024 = 0.5 M tokens as GPT-2
    steps: Positive = 100_000
    learning_rate: Seconds = 6e-4  # Brown et al. 2020, table 2.1, 125M
    min_learning_rate: NonNegative = 6e-5  # a tenth (Brown et al. 2020, appendix B)
    warmup_steps: Count = 700  # 375 M tokens (the same); a tenth of `steps` where that is less and this is not set
    weight_decay: NonNegative = 0.1  # on matrices
    beta1: Share = 0.9
    beta2: Share = 0.95
    clip: NonNegative = 1.0  # global gradient norm; 0 = off
    dropout: Share = 0.0  # GPT-2 trained with 0.1; one epoch needs none
    eval_every: Positive = 500  # steps
    eval_batches: Positive = 20
    checkpoint_every: Positive = 500  # steps
    seed: Count = 1
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    logit_rows: Count = 0  # rows of logits held at once, which bounds the memory of the loss; 0 = all
    parallel: Literal["ddp", "fsdp"] = "ddp"  # under torchrun: whole weights in each process, or a share
    tensorboard: bool = False  # logs for it beside metrics.jsonl
    start_from: str = ""  # a folder of transformers with a GPT-2 whose weights the run begins with
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: for matrices inside the layers (Jordan et al. 2024)
    same_document: bool = False  # attention never leaves a document; GPT-2's does
    rope: bool = False  # rotary positions (Su et al. 2021) instead of learned ones
    rms_norm: bool = False  # RMSNorm (Zhang and Sennrich 2019) instead of the layer norm


class Settings(Section, frozen=True):
    """The whole config file. `Settings()` is the recipe of WebText with nothing to read yet."""

    build: BuildSettings = BuildSettings()
    harvest: HarvestSettings = HarvestSettings()
    links: LinksSettings = LinksSettings()
    pages: PagesSettings = PagesSettings()
    documents: DocumentsSettings = DocumentsSettings()
    corpus: CorpusSettings = CorpusSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    tokens: TokensSettings = TokensSettings()
    train: TrainSettings = TrainSettings()


# What a choice brings for settings of its table that say nothing themselves: (table, key, value) to defaults.
# laptop: 820,000 tokens, which 2 cores see in 10 minutes or less, whatever the vocabulary. containment: half of a
# document has a Jaccard of 0.5 with the whole, which 21 bands of 6 rows find in 0.28 of cases, 42 of 3 in 0.996.
BROUGHT: dict[tuple[str, str, str], dict[str, Any]] = {
    ("corpus", "measure", "containment"): {"bands": 42, "rows": 3},
    ("train", "preset", "laptop"): {
        "block": 256, "batch": 8, "accumulate": 1, "steps": 400, "learning_rate": 2e-3, "min_learning_rate": 2e-4,
        "warmup_steps": 40, "eval_every": 100, "eval_batches": 10, "checkpoint_every": 100,
    },
}  # fmt: skip


def load(path: Path, assignments: Sequence[str] = ()) -> Settings:
    """Settings of a TOML file; what it does not name keeps its default, and `assignments` win (see `override`).

    Raises ConfigError: no such file, not TOML, an unknown key (with the nearest known one), a wrong type or bound. It
    names the assignment that brought the fault, or else the file.
    """
    try:
        text = decoded(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; name the working directory with --dir; 'webtext init' writes one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    merged = override(tables, assignments)
    try:
        return parse(merged)
    except ConfigError as error:
        raise ConfigError(f"{blamed(path, tables, assignments, str(error))}: {error}") from None


def blamed(path: Path, tables: dict[str, Any], assignments: Sequence[str], fault: str) -> str:
    """What brought a fault of the file with all assignments: the file, or the first assignment that shows it."""
    for count in range(len(assignments)):
        try:
            parse(override(tables, assignments[:count]))
        except ConfigError as error:
            if str(error) == fault:
                return f"--set {assignments[count - 1]}" if count else str(path)
    return f"--set {assignments[-1]}" if assignments else str(path)


def parse(tables: dict[str, Any]) -> Settings:
    """Settings of nested dicts as TOML gives them. Raises ConfigError, naming the key."""
    refuse_unknown(tables)
    named = "warmup_steps" in tables.get("train", {})
    for (table, key, choice), brought in BROUGHT.items():
        if tables.get(table, {}).get(key) == choice:
            tables = {**tables, table: brought | tables[table]}
    train = tables.get("train", {})
    steps, warmup = train.get("steps"), train.get("warmup_steps", TrainSettings().warmup_steps)
    if isinstance(steps, int) and not named and steps // 10 < warmup:  # of a short run, a tenth warms up
        tables = {**tables, "train": train | {"warmup_steps": max(0, steps // 10)}}
    try:
        settings = msgspec.convert(tables, Settings)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$.")
        raise ConfigError(f"{where.rstrip('`')}: {message}{choices(where, message)}") from None
    check_together(settings)
    return settings


def refuse_unknown(tables: dict[str, Any]) -> None:
    """Raise ConfigError for the first table or key that Settings does not have."""
    sections: dict[str, type[Section]] = {name: type(getattr(Settings(), name)) for name in Settings.__struct_fields__}
    for section, values in tables.items():
        if section not in sections:
            raise ConfigError(f"[{section}]: unknown table{nearest(section, sections)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{section}: expected a table [{section}], got {values!r}")
        known = sections[section].__struct_fields__
        for key in values:
            if key not in known:
                raise ConfigError(f"{section}.{key}: unknown key{nearest(key, known)}")


def choices(where: str, message: str) -> str:
    """What a setting of few values may be, as `nearest` says it; "" of any other and of any other fault."""
    wrong = re.fullmatch(r"Invalid enum value '(.*)'", message, re.DOTALL)
    section, _, key = where.partition(".")
    if wrong is None:
        return ""
    hint = get_type_hints(type(getattr(Settings(), section)))[key.rstrip("`").partition("[")[0]]
    within = get_args(hint)  # of tuple[Literal[…], ...] the first says what each may be
    return nearest(wrong[1], within if isinstance(within[0], str) else get_args(within[0]))


def nearest(word: str, known: Any) -> str:
    """'; known: …' with all known words, after '; did you mean …?' with the one most like this, if any is."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    meant = f"; did you mean {str(close[0])!r}?" if close else ""
    return f"{meant}; known: {', '.join(known)}"


def check_together(settings: Settings) -> None:
    """Raise ConfigError where two values that are each fine do not fit together."""
    corpus, documents = settings.corpus, settings.documents
    if corpus.bands * corpus.rows > documents.permutations:
        raise ConfigError(
            f"corpus.bands x corpus.rows = {corpus.bands * corpus.rows} is more than "
            f"documents.permutations = {documents.permutations}; lower one of the two"
        )
    check_bigquery(settings.links)
    if not settings.pages.commoncrawl_url.startswith(("https://", "http://")):
        raise ConfigError(f"pages.commoncrawl_url: expected an http address, got {settings.pages.commoncrawl_url!r}")
    if 2 * settings.pages.gap_s > settings.pages.round_s:
        raise ConfigError(
            f"pages.gap_s = {settings.pages.gap_s:g} leaves no time for requests in pages.round_s = "
            f"{settings.pages.round_s:g}; raise pages.round_s to {2 * settings.pages.gap_s:g} or more"
        )
    for name, address in settings.pages.local_hosts.items():
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise ConfigError(f'pages.local_hosts.{name}: expected "address:port", got {address!r}')


def check_bigquery(links: LinksSettings) -> None:
    """Raise ConfigError where the table or the days cannot stand in a query."""
    if links.bigquery and not re.fullmatch(r"[\w-]+(?:[.:][\w-]+)*\.[\w-]+\.[\w-]*\*?", links.bigquery, re.ASCII):
        raise ConfigError(f'links.bigquery: expected "project.dataset.table", got {links.bigquery!r}')
    for day in links.bigquery_days:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", day, re.ASCII):
            raise ConfigError(f'links.bigquery_days: expected days as "2013-08-31", got {day!r}')


def override(tables: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """`tables` with `section.key=value` assignments of the command line laid over it; values are TOML."""
    merged = {section: dict(values) if isinstance(values, dict) else values for section, values in tables.items()}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            raise ConfigError(f"--set {assignment}: expected SECTION.KEY=VALUE")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        merged.setdefault(section, {})[key] = parsed
    return merged


def slice_of(section: Section) -> dict[str, Any]:
    """A section as plain JSON-able values, for fingerprints and manifests."""
    return dict(msgspec.to_builtins(section))

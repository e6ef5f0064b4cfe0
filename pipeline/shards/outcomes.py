"""Outcomes of rows and errors of runs: every fate a row can meet and every way a run can fail, in one list.

Choice: outcomes are one enumeration, not free strings, so that books can be proved (inputs = sum of outcomes)
and the counters, the SQL, the funnel table and the demo's expected table read the same names.
Cost: a new rule needs a line here. Alternative: reasons as free strings (datatrove), which nobody can add up.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of one row of a stage. Exactly one per row; the value is what files and tables show."""

    def __new__(cls, value: str, meaning: str) -> Outcome:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    meaning: str

    KEPT = "kept", "goes on to the next stage"

    # submissions: one per line of a dump
    BAD_LINE = "bad_line", "the line is not a JSON object with the fields of a submission"
    SELF_POST = "self_post", "a text post: it links to nothing"
    BAD_URL = "bad_url", "the address cannot be parsed, or is not http or https"
    REPEATED = "repeated", "the same submission id was read before; the highest score counts"

    # harvest: one per item that a listing of Reddit shows (and KEPT to REPEATED of the above), or per listing
    DELETED = "deleted", "deleted on Reddit, and so here: its id alone is kept"
    PRIVATE = "private", "a private subreddit"
    QUARANTINED = "quarantined", "a quarantined subreddit"
    BANNED = "banned", "a subreddit that Reddit has banned"
    BAD_ANSWER = "bad_answer", "the answer is not what the API promises, also after the retries"

    # links: one per URL
    REMOVED = "removed", "taken out by request: nothing that comes later sees it"
    LOW_KARMA = "low_karma", "the link's karma, as links.karma_of reads it, is below the threshold"
    OVER_18 = "over_18", "every submission of the link is marked over 18"
    REDDIT_HOST = "reddit_host", "points back into Reddit"
    BLOCKED_HOST = "blocked_host", "the host is on the block list (media hosts: they hold no text)"
    BLOCKED_DOMAIN = "blocked_domain", "the host is on the user's list of domains"
    BLOCKED_SUBREDDIT = "blocked_subreddit", "every submission of the link is in a blocked subreddit"
    BLOCKED_SUFFIX = "blocked_suffix", "the path ends like an image, a film or an archive"
    WIKIPEDIA_HOST = "wikipedia_host", "a Wikimedia host, or a known mirror of Wikipedia"

    # pages: one per kept link
    NOT_IN_WARC = "not_in_warc", "no archive that was asked holds a response for the link"
    BAD_RECORD = "bad_record", "the WARC record of the page cannot be had or read"
    ROBOTS_DISALLOWED = "robots_disallowed", "robots.txt forbids the page"
    ROBOTS_UNREACHABLE = "robots_unreachable", "robots.txt answers 5xx or not at all: disallowed (RFC 9309, 2.3.1.4)"
    OPTED_OUT = "opted_out", "the page asks not to be used for training (noai, TDM-Reservation, Content-Usage)"
    NOT_PUBLIC = "not_public", "the name leads to an address that is not public, and pages.local_hosts does not name it"
    NAME_ERROR = "name_error", "the host name cannot be resolved"
    CONNECT_ERROR = "connect_error", "no connection, or it broke before an answer"
    BAD_RESPONSE = "bad_response", "what answers does not speak HTTP, or says of the body two things at once"
    INCOMPLETE = "incomplete", "a part of the page: the connection broke within it, or the server sent no more (206)"
    TLS_ERROR = "tls_error", "the certificate or the TLS handshake is not valid"
    TIMED_OUT = "timed_out", "the deadline of the request passed"
    TOO_LARGE = "too_large", "more bytes than the limit, on the wire or decompressed"
    BAD_ENCODING = "bad_encoding", "the content encoding cannot be decoded"
    REDIRECT_LOOP = "redirect_loop", "the redirects come back to where they were"
    TOO_MANY_REDIRECTS = "too_many_redirects", "more redirects than the limit"
    BAD_REDIRECT = "bad_redirect", "a redirect without a usable target"
    NOT_FOUND = "not_found", "404 or 410"
    CLIENT_ERROR = "client_error", "another 4xx"
    SERVER_ERROR = "server_error", "5xx, also after the retries"
    BAD_STATUS = "bad_status", "a status that is neither success, redirect nor error"
    NOT_HTML = "not_html", "the content type is not HTML or plain text"
    EMPTY_BODY = "empty_body", "the response holds no bytes"
    HOST_AWAY = (
        "host_away",
        "never asked: the host gave nothing, or asked for less, for longer than pages.patience_gaps",
    )
    HOST_LIMIT = "host_limit", "not asked for: pages.most_per_host links of its host have more karma; raise it to ask"
    FAULT = "fault", "a fault of this program at this page, named in a note: please report it"

    # documents: one per kept page
    UNDECODABLE = "undecodable", "the bytes are not text in any encoding tried"
    NO_TEXT = "no_text", "the engines found no main text"
    EXTRACT_TIMED_OUT = "extract_timed_out", "extraction used up its CPU time, twice"
    EXTRACT_MEMORY = "extract_memory", "extraction used up its memory"
    EXTRACT_CRASHED = "extract_crashed", "the extraction engine raised or died"

    # corpus: one per kept document
    TOO_SHORT = "too_short", "fewer words than the minimum"
    OTHER_LANGUAGE = "other_language", "not in a wanted language"
    LOW_QUALITY = "low_quality", "a quality rule of the config refused it"
    WIKIPEDIA_TEXT = "wikipedia_text", "most of its 8-grams are Wikipedia's, or it says it comes from there"
    CONTAMINATED = "contaminated", "so much of an evaluation text that nothing is left once that is cut out"
    DUPLICATE_ELSEWHERE = (
        "duplicate_elsewhere",
        "the same words as, or verified as similar to, a document that stands in a corpus of corpus.against",
    )
    EXACT_DUPLICATE = "exact_duplicate", "the same normalised text as a better-ranked document"
    NEAR_DUPLICATE = "near_duplicate", "verified as similar to a better-ranked kept document"


# The fates each set of books may name, in the order a reader meets them.
FATES: dict[str, tuple[Outcome, ...]] = {
    "submissions": (Outcome.KEPT, Outcome.SELF_POST, Outcome.BAD_URL, Outcome.BAD_LINE, Outcome.REPEATED),
    "links": (
        Outcome.KEPT, Outcome.LOW_KARMA, Outcome.OVER_18, Outcome.REDDIT_HOST, Outcome.WIKIPEDIA_HOST,
        Outcome.BLOCKED_HOST, Outcome.BLOCKED_DOMAIN, Outcome.BLOCKED_SUFFIX, Outcome.BLOCKED_SUBREDDIT,
        Outcome.REMOVED,
    ),
    "pages": (
        Outcome.KEPT, Outcome.REMOVED, Outcome.BLOCKED_DOMAIN, Outcome.NOT_IN_WARC, Outcome.BAD_RECORD,
        Outcome.ROBOTS_DISALLOWED, Outcome.ROBOTS_UNREACHABLE, Outcome.OPTED_OUT, Outcome.NOT_PUBLIC,
        Outcome.NAME_ERROR, Outcome.CONNECT_ERROR, Outcome.BAD_RESPONSE, Outcome.INCOMPLETE, Outcome.TLS_ERROR,
        Outcome.TIMED_OUT, Outcome.TOO_LARGE, Outcome.BAD_ENCODING, Outcome.REDIRECT_LOOP, Outcome.TOO_MANY_REDIRECTS,
        Outcome.BAD_REDIRECT, Outcome.NOT_FOUND, Outcome.CLIENT_ERROR, Outcome.SERVER_ERROR, Outcome.BAD_STATUS,
        Outcome.NOT_HTML, Outcome.EMPTY_BODY, Outcome.HOST_AWAY, Outcome.HOST_LIMIT, Outcome.FAULT,
    ),
    "documents": (
        Outcome.KEPT, Outcome.REMOVED, Outcome.UNDECODABLE, Outcome.NO_TEXT, Outcome.EXTRACT_TIMED_OUT,
        Outcome.EXTRACT_MEMORY, Outcome.EXTRACT_CRASHED,
    ),
    "corpus": (
        Outcome.KEPT, Outcome.WIKIPEDIA_HOST, Outcome.OTHER_LANGUAGE, Outcome.TOO_SHORT, Outcome.LOW_QUALITY,
        Outcome.WIKIPEDIA_TEXT, Outcome.CONTAMINATED, Outcome.DUPLICATE_ELSEWHERE, Outcome.EXACT_DUPLICATE,
        Outcome.NEAR_DUPLICATE,
    ),
    "tokens": (Outcome.KEPT,),
}  # fmt: skip

# Ends of a page that another day may change: `pages.passes` asks again.
PASSING = frozenset({
    Outcome.ROBOTS_UNREACHABLE, Outcome.NAME_ERROR, Outcome.CONNECT_ERROR, Outcome.TLS_ERROR, Outcome.TIMED_OUT,
    Outcome.SERVER_ERROR, Outcome.INCOMPLETE, Outcome.HOST_AWAY, Outcome.FAULT,
})  # fmt: skip


class WebTextError(Exception):
    """A failure a person can mend: one line that says what, where, and what to do. `exit_code` tells the kind."""

    exit_code = 1


class ConfigError(WebTextError):
    """The config file or a command-line value is wrong."""

    exit_code = 2


class InputError(WebTextError):
    """An input file is missing, truncated or not what it claims to be."""

    exit_code = 3


class BusyError(WebTextError):
    """Another run holds the working directory."""

    exit_code = 4


class IntegrityError(WebTextError):
    """What is needed of the working directory is not built, or is not what its receipt describes."""

    exit_code = 5


class BooksError(WebTextError):
    """Rows were lost or invented: inputs and outcomes do not add up. A bug; never the user's fault."""

    exit_code = 6


class StorageError(WebTextError):
    """The storage refused: disk full, no permission."""

    exit_code = 7


class TrainingError(WebTextError):
    """Training cannot start, resume or go on (no tokens, another tokenizer, a loss that is not a number)."""

    exit_code = 8


class WorkerError(WebTextError):
    """A worker process of this machine died."""

    exit_code = 9


class EngineError(WebTextError):
    """The engine that ran the build gave a job up; nothing that was made is lost."""

    exit_code = 15


class DryRun(WebTextError):  # noqa: N818 - no error: it ends a run early
    """A dry run ended as it should: a job was built, and nothing was submitted or made."""

    exit_code = 0


class DedupError(WebTextError):
    """The deduplication measured itself and is not good enough to go on."""

    exit_code = 11


class OutageError(WebTextError):
    """Nothing on the network answers any more; what waits is asked when the same command runs again."""

    exit_code = 12


class SourceError(WebTextError):
    """A remote source (Reddit's API) refused the credentials, or gave nothing, also after the retries."""

    exit_code = 10


class StaleError(WebTextError):
    """An artefact is not what a build would make today, and was not asked for as it is."""

    exit_code = 13


DIFFERENT = 14  # an answer, no failure; diff(1) says 1, which here is a bug

EXIT_CODES: dict[int, str] = {
    0: "success",
    1: "a bug: please report it with --debug",
    **{
        kind.exit_code: (kind.__doc__ or "").splitlines()[0]
        for kind in (
            ConfigError,
            InputError,
            BusyError,
            IntegrityError,
            BooksError,
            StorageError,
            TrainingError,
            WorkerError,
            EngineError,
            SourceError,
            DedupError,
            StaleError,
            OutageError,
        )
    },
    DIFFERENT: "two working directories differ (webtext diff)",
    75: "stopped by SIGTERM after saving; run the same command again to go on",
    130: "interrupted; run the same command again to go on",
    141: "nobody reads the output any more",
    143: "terminated; run the same command again to go on",
}

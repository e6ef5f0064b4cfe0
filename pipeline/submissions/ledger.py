"""The ledger of the live harvest: what Reddit showed, the score that counts, and nothing of what was deleted there.

Choice: one SQLite file in WAL mode (sql/ledger.sql), written page by page, so that a killed harvest loses one page at
most. `links` never reads it while it grows: `snapshot` writes the rows of one read transaction as ordinary dumps, one
a month, sorted by id, whose bytes depend on their rows alone. A hash of the SQLite file would tell nothing: the newest
rows lie in its -wal file, and equal rows give unequal files. Cost: the rows are written once more. Alternative: hash a
sorted reading and read again later; in between the harvest may have written.

Long because each of its queries stands with the function that asks it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import msgspec
import zstandard

from pipeline.shards import storage
from pipeline.shards.locations import name_of
from pipeline.shards.outcomes import BusyError, InputError, Outcome, StorageError, WebTextError
from pipeline.submissions.listings import Page
from pipeline.submissions.rows import Block, Submission

SUFFIX = ".sqlite"
APPLICATION, VERSION = 2_003_133_036, 1  # as sql/ledger.sql says
BUSY_S = 30.0  # waited for another writer
BATCH = 100  # most that /api/info answers at once
MISSING_S = 3_600  # between the two looks that find a submission missing: one empty answer proves nothing
RESUMED_S = 3_600  # an unfinished pass older than this begins again: what `after` points to has moved on
SNAPSHOT_ROWS = 10_000

MONTH = "strftime('%Y-%m', created_utc, 'unixepoch')"
COLUMNS = "id, url, score, created_utc, subreddit, over_18"
INSERT = """
INSERT INTO submissions (id, url, score, created_utc, subreddit, over_18,
                         first_score, first_read_utc, read_utc, checked_utc)
VALUES (:id, :url, :score, :created_utc, :subreddit, :over_18, :score, :now, :now, :now)
"""
UPDATE = """
UPDATE submissions SET
    score = iif(read_utc - created_utc >= :settle_s, score, :score),
    read_utc = iif(read_utc - created_utc >= :settle_s, read_utc, :now),
    over_18 = :over_18, checked_utc = :now, missing_utc = NULL
WHERE id = :id
"""
DUE = """
SELECT id FROM submissions
WHERE id > :after AND (
    (read_utc - created_utc < :settle_s AND :now - created_utc >= :settle_s)
    OR :now - checked_utc >= :recheck_s
    OR :now - missing_utc >= :missing_s
) ORDER BY id LIMIT :batch
"""
BEGIN_PASS = """
INSERT INTO listings (name, began_utc, items, newest_utc, known_utc) VALUES (:name, :now, 0, 0, 0)
ON CONFLICT (name) DO UPDATE SET began_utc = :now, items = 0, newest_utc = 0, after = NULL
"""


@dataclass(frozen=True, slots=True)
class ListingState:
    """Where the reading of a listing stands: see the table `listings`. Times in seconds since 1970, UTC."""

    began_utc: int
    ended_utc: int | None
    after: str | None
    known_utc: int


def schema() -> str:
    """The text of sql/ledger.sql: beside the package in a source tree, inside it in a wheel."""
    package = Path(__file__).parents[1]
    places = (package / "sql" / "ledger.sql", package.parent / "sql" / "ledger.sql")
    return next(place for place in places if place.is_file()).read_text("utf-8")


class Ledger:
    """An open ledger, made if there is none. Every method is one transaction; `now` is seconds since 1970, UTC.

    Raises InputError (the file is no ledger, or damaged), StorageError, BusyError (another writer does not end).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with failures_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            self.db.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, not only unlinked
            if not self.db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                self.db.executescript(schema())
            check_kind(self.db, path)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection inside one transaction, which is undone if the block fails."""
        with failures_named(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                self.db.execute("COMMIT")
            finally:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")

    def state_of(self, name: str) -> ListingState | None:
        """Where the reading of a listing stands; None: it was never read."""
        with failures_named(self.path):
            columns = "began_utc, ended_utc, after, known_utc"
            row = self.db.execute(f"SELECT {columns} FROM listings WHERE name = ?", [name]).fetchone()
            return ListingState(*row) if row else None

    def begin(self, name: str, now: int) -> ListingState:
        """Begin a pass over a listing, or go on with one that was cut off within the last hour."""
        found = self.state_of(name)
        if found is None or found.after is None or now - found.began_utc >= RESUMED_S:
            with self.transaction() as db:
                db.execute(BEGIN_PASS, {"name": name, "now": now})
            found = self.state_of(name)
            assert found is not None
        return found

    def record(self, name: str, page: Page, now: int, settle_s: int) -> Counter[Outcome]:
        """Take in one page of a listing, with how far the pass got; the fate of each of its items.

        KEPT is new, REPEATED known, DELETED deleted there, or here before; and the fates that the page names.
        """
        fates = page.fates.copy()
        with self.transaction() as db:
            for submission in page.submissions:
                fates[take(db, submission, now, settle_s)] += 1
            for key in page.gone:
                bury(db, key, now)
                fates[Outcome.DELETED] += 1
            db.execute(
                "UPDATE listings SET items = items + ?, newest_utc = max(newest_utc, ?), after = ? WHERE name = ?",
                [page.items, page.newest_utc, page.after, name],
            )
        return fates

    def end(self, name: str, outcome: Outcome, now: int) -> None:
        """End a pass: it was read (KEPT), or could not be. Only the former proves that what is older has been seen."""
        with self.transaction() as db:
            db.execute(
                "UPDATE listings SET after = NULL, outcome = :outcome, "
                "ended_utc = iif(:outcome = 'kept', :now, ended_utc), "
                "known_utc = iif(:outcome = 'kept', max(known_utc, newest_utc), known_utc) WHERE name = :name",
                {"name": name, "outcome": outcome.value, "now": now},
            )

    def due(self, now: int, settle_s: int, recheck_s: int) -> Iterator[list[str]]:
        """Batches of ids to ask Reddit about: their score has not settled and could, or they were not seen for long."""
        wanted = {"now": now, "settle_s": settle_s, "recheck_s": recheck_s, "missing_s": MISSING_S, "batch": BATCH}
        last = ""
        while True:
            with failures_named(self.path):
                batch = [key for (key,) in self.db.execute(DUE, {**wanted, "after": last})]
            if not batch:
                return
            yield batch
            last = batch[-1]

    def rescore(self, asked: Sequence[str], page: Page, now: int, settle_s: int) -> Counter[Outcome]:
        """Take in the answer about known ids, and the fate of each.

        KEPT is shown still, DELETED deleted, NOT_FOUND missing a first time, BAD_LINE shown in a form not understood.
        """
        shown, gone = {submission.id: submission for submission in page.submissions}, set(page.gone)
        fates: Counter[Outcome] = Counter()
        with self.transaction() as db:
            for key in asked:
                if key in gone:
                    bury(db, key, now)
                    fate = Outcome.DELETED
                elif key in shown:
                    db.execute(UPDATE, {**msgspec.structs.asdict(shown[key]), "now": now, "settle_s": settle_s})
                    fate = Outcome.KEPT
                elif f"t3_{key}" in page.names:
                    db.execute("UPDATE submissions SET checked_utc = ?, missing_utc = NULL WHERE id = ?", [now, key])
                    fate = Outcome.BAD_LINE
                else:
                    fate = miss(db, key, now)
                fates[fate] += 1
        return fates

    def forget(self, gone: Callable[[str, str], bool]) -> int:
        """Delete the submissions of which `gone(id, url)`, their ids aside, so that none comes back; how many."""
        with failures_named(self.path):
            found = [
                key for key, url in self.db.execute("SELECT id, url FROM submissions ORDER BY id") if gone(key, url)
            ]
        with self.transaction() as db:
            for key in found:
                bury(db, key, int(time.time()))
        return len(found)

    def settle(self) -> None:
        """Empty the -wal file into the ledger, so that no old page of it keeps what was deleted."""
        with failures_named(self.path):
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def counts(self, settle_s: int) -> dict[str, int]:
        """How many submissions the ledger holds, how many scores have settled, how many ids are marked deleted."""
        with failures_named(self.path):
            held, settled = self.db.execute(
                "SELECT count(*), count(*) FILTER (WHERE read_utc - created_utc >= ?) FROM submissions", [settle_s]
            ).fetchone()
            (deleted,) = self.db.execute("SELECT count(*) FROM deleted").fetchone()
        return {"submissions": held, "settled": settled, "deleted": deleted}


def take(db: sqlite3.Connection, submission: Submission, now: int, settle_s: int) -> Outcome:
    """Write a submission that a listing shows, unless it was deleted."""
    if db.execute("SELECT 1 FROM deleted WHERE id = ?", [submission.id]).fetchone():
        return Outcome.DELETED
    values = {**msgspec.structs.asdict(submission), "now": now, "settle_s": settle_s}
    if db.execute(UPDATE, values).rowcount:
        return Outcome.REPEATED
    db.execute(INSERT, values)
    return Outcome.KEPT


def bury(db: sqlite3.Connection, key: str, now: int) -> None:
    """Delete a submission; only its id is left, so that no later page brings it back."""
    db.execute("DELETE FROM submissions WHERE id = ?", [key])
    db.execute("INSERT OR IGNORE INTO deleted (id, deleted_utc) VALUES (?, ?)", [key, now])


def miss(db: sqlite3.Connection, key: str, now: int) -> Outcome:
    """Note that Reddit answers without a submission; the second time it is deleted.

    No id is kept then: a subreddit that closed for a week may show it again.
    """
    if db.execute("DELETE FROM submissions WHERE id = ? AND ? - missing_utc >= ?", [key, now, MISSING_S]).rowcount:
        return Outcome.DELETED
    db.execute("UPDATE submissions SET missing_utc = ifnull(missing_utc, ?) WHERE id = ?", [now, key])
    return Outcome.NOT_FOUND


def read_ledger(path: Path, rows: int) -> Iterator[Block]:
    """Blocks of a ledger sorted by id, as `read_dump` gives those of a dump; all of one moment, whoever writes.

    Every row is KEPT; the score is the settled one, or the latest while there is none. Raises InputError: no ledger.
    """
    for block in selected(path, rows, "id"):
        yield Block(block, Counter({Outcome.KEPT: len(block)}))


def selected(path: Path, rows: int, order: str) -> Iterator[list[Submission]]:
    """The submissions of a ledger, so many at a time, of one moment. Raises as `read_ledger`."""
    if not path.is_file():
        raise InputError(f"{path}: no such ledger; 'webtext harvest' writes one")
    with failures_named(path), closing(connect_readonly(path)) as db:
        check_kind(db, path)
        found = db.execute(f"SELECT {COLUMNS} FROM submissions WHERE missing_utc IS NULL ORDER BY {order}")
        while block := found.fetchmany(rows):
            yield [submission_of(*row) for row in block]


def submission_of(key: str, url: str, score: int, created_utc: int, subreddit: str, over_18: int) -> Submission:
    """A row of COLUMNS; SQLite knows no booleans."""
    return Submission(key, url, score, created_utc, subreddit, bool(over_18))


def connect_readonly(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=BUSY_S)


def snapshots(paths: Sequence[Path], folder: Path) -> list[Path]:
    """`paths` with every ledger replaced by its dumps in `folder`, written now; dumps of other ledgers are removed."""
    each = [snapshot(path, folder) if path.suffix.lower() == SUFFIX else [path] for path in paths]
    made = [path for dumps in each for path in dumps]
    for old in set(storage.names(folder, "*.zst")) - set(made):
        storage.remove(old)
    return made


def snapshot(path: Path, folder: Path) -> list[Path]:
    """A ledger as dumps, one for each month (UTC) of its posts: the same rows give the same bytes, whatever other
    months hold, so that a harvest of a day makes one of them anew. One without rows where the ledger has none.

    Raises as `read_ledger`, and StorageError.
    """
    mark = hashlib.sha256(name_of(path.absolute()).encode()).hexdigest()[:8]  # two ledgers may have one name
    rows = (row for block in selected(storage.local(path), SNAPSHOT_ROWS, f"{MONTH}, id") for row in block)
    made = []
    for month, posts in groupby(rows, lambda row: time.strftime("%Y-%m", time.gmtime(row.created_utc))):
        made.append(folder / f"{path.stem}-{mark}-{month}.ndjson.zst")
        write_dump(made[-1], posts)
    if not made:
        made.append(folder / f"{path.stem}-{mark}.ndjson.zst")
        write_dump(made[0], ())
    return made


def write_dump(target: Path, posts: Iterable[Submission]) -> None:
    """Submissions as a dump, atomically."""
    with storage.atomic(target) as file, zstandard.ZstdCompressor().stream_writer(file, closefd=False) as packed:  # type: ignore[arg-type]
        for post in posts:
            packed.write(dump_line(post))


def dump_line(submission: Submission) -> bytes:
    """A submission as a line of a dump; its URL with the entities that Reddit's dumps have, see `rows.posted_url`."""
    url = submission.url.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    row = {**msgspec.structs.asdict(submission), "url": url, "is_self": False}
    return msgspec.json.encode(row) + b"\n"


def check_kind(db: sqlite3.Connection, path: Path) -> None:
    """Raise InputError unless the file is a ledger of this version."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise InputError(f"{path}: not a ledger of 'webtext harvest'; name another file")
    if version != VERSION:
        raise InputError(f"{path}: a ledger of version {version}, this program knows {VERSION}; use the newer program")


@contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into the one line that says what and where."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(path, error) from None
    except OSError as error:
        raise storage.refused(path, error) from None


def explained(path: Path, error: sqlite3.Error) -> WebTextError:
    """The failure of ours that an error of SQLite is; its own names are sqlite.org/rescode.html's."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return BusyError(f"{path}: another process writes it for over {BUSY_S:.0f} s; stop it, or wait for it to end")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return InputError(f"{path}: damaged, or not a ledger ({error}); name another file")
    return StorageError(f"{path}: {error}; see to space and permissions (readers too need to write beside it)")

-- The ledger of `webtext harvest`: the link posts that Reddit showed, and for each the score that counts.
-- Times are seconds since 1970, UTC. No author, title or text is kept: links need none of them.
PRAGMA journal_mode = WAL;  -- a build reads while the harvest writes, and neither waits
BEGIN IMMEDIATE;

CREATE TABLE submissions (
    id TEXT PRIMARY KEY,            -- base 36, without t3_
    url TEXT NOT NULL,              -- as posted
    subreddit TEXT NOT NULL,
    created_utc INTEGER NOT NULL,
    over_18 INTEGER NOT NULL CHECK (over_18 IN (0, 1)),
    first_score INTEGER NOT NULL,
    first_read_utc INTEGER NOT NULL,
    score INTEGER NOT NULL,         -- karma: the latest reading, until one is taken after the settling time: that stays
    read_utc INTEGER NOT NULL,      -- when `score` was read
    checked_utc INTEGER NOT NULL,   -- when Reddit last showed it
    missing_utc INTEGER             -- since when Reddit answers without it; links leaves it out from then on
) STRICT, WITHOUT ROWID;

-- What was deleted on Reddit: the id alone, so that no later page brings it back.
CREATE TABLE deleted (
    id TEXT PRIMARY KEY,
    deleted_utc INTEGER NOT NULL    -- when it was deleted here
) STRICT, WITHOUT ROWID;

-- One row a listing: what its last pass found, and where an unfinished one goes on.
CREATE TABLE listings (
    name TEXT PRIMARY KEY,          -- r/books/top?t=day
    began_utc INTEGER NOT NULL,
    ended_utc INTEGER,              -- of the last whole pass
    outcome TEXT,                   -- of the last pass that ended: kept (whole), or why it could not be read
    items INTEGER NOT NULL,         -- of the last pass
    after TEXT,                     -- the page to go on with; NULL between passes
    newest_utc INTEGER NOT NULL,    -- the newest item of the last pass
    known_utc INTEGER NOT NULL      -- the newest item of the last whole pass: what is older has been seen
) STRICT, WITHOUT ROWID;

PRAGMA application_id = 2003133036; -- 'webl': tells a ledger from other SQLite files
PRAGMA user_version = 1;            -- of this schema
COMMIT;

-- Rows only where the books do not balance: a shard, or a whole artefact, whose rows in are not the sum of its outcomes,
-- or are not the rows that the stage before kept (then `accounted` is these, and one more build sets it right).
-- Run it in a working directory: duckdb < sql/report/balance.sql (no rows is the good answer)
WITH books AS (
    SELECT filename, unnest(map_entries(books)) AS entry
    FROM read_json(
        ['*/.manifest.json', '*/.receipts/*.json'],
        columns = {books: 'MAP(VARCHAR, STRUCT(inputs BIGINT, outcomes MAP(VARCHAR, BIGINT)))'},
        filename = true
    )
),
sums AS (
    SELECT
        filename,
        entry.key AS step,
        entry.value.inputs AS inputs,
        coalesce(list_sum(map_values(entry.value.outcomes)), 0) AS accounted
    FROM books
),
kept AS (
    SELECT
        entry.key AS step,
        entry.value.inputs AS inputs,
        coalesce(entry.value.outcomes['kept'], 0) AS kept
    FROM books
    WHERE filename LIKE '%.manifest.json'
),
chain(step, next) AS (
    VALUES ('links', 'pages'), ('pages', 'documents'), ('documents', 'corpus'), ('corpus', 'tokens')
),
unequal AS (
    SELECT filename, step, inputs, accounted FROM sums
    UNION ALL
    SELECT chain.next || '/.manifest.json', chain.next, later.inputs, earlier.kept
    FROM chain
    JOIN kept AS earlier ON earlier.step = chain.step
    JOIN kept AS later ON later.step = chain.next
)
SELECT filename, step, inputs, accounted, inputs - accounted AS missing
FROM unequal
WHERE inputs <> accounted
ORDER BY filename, step;

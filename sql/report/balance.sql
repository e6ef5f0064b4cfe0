-- Rows only where the books do not balance: a shard, or a whole artefact, whose rows in are not the sum of its outcomes.
-- Run it in a working directory: duckdb < sql/report/balance.sql (no rows is the good answer)
WITH books AS (
    SELECT filename, unnest(map_entries(books)) AS entry
    FROM read_json(
        ['*/manifest.json', '*/receipts/*.json'],
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
)
SELECT filename, step, inputs, accounted, inputs - accounted AS missing
FROM sums
WHERE inputs <> accounted
ORDER BY filename, step;

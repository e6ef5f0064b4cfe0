-- What became of every row: one line a step and outcome, in the order of the chain, with its share of the rows in.
-- Run it in a working directory: duckdb < sql/report/funnel.sql
WITH books AS (
    SELECT unnest(map_entries(books)) AS entry
    FROM read_json(
        '*/.manifest.json',
        columns = {books: 'MAP(VARCHAR, STRUCT(inputs BIGINT, outcomes MAP(VARCHAR, BIGINT)))'}
    )
),
outcomes AS (
    SELECT
        entry.key AS step,
        entry.value.inputs AS inputs,
        unnest(map_entries(entry.value.outcomes)) AS outcome
    FROM books
)
SELECT
    step,
    inputs,
    outcome.key AS outcome,
    outcome.value AS row_count,
    round(100.0 * outcome.value / inputs, 2) AS percent
FROM outcomes
ORDER BY
    list_position(['submissions', 'links', 'pages', 'documents', 'corpus', 'tokens'], step),
    outcome.key <> 'kept',
    row_count DESC,
    outcome.key;

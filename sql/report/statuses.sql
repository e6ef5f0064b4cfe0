-- What did the servers answer? One line an HTTP status and an outcome; no status: there was no answer to read.
-- Run it in a working directory: duckdb < sql/report/statuses.sql
SELECT nullif(status, 0) AS status, outcome, count(*) AS pages
FROM 'pages/*.parquet'
GROUP BY ALL
ORDER BY status NULLS LAST, pages DESC, outcome;

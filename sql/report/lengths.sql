-- How long are the documents of the corpus? Buckets of words double: at_least 128 means 128 to 255.
-- Run it in a working directory: duckdb < sql/report/lengths.sql
SELECT
    CASE WHEN words < 1 THEN 0 ELSE (1::BIGINT << floor(log2(words))::BIGINT) END AS at_least,
    count(*) AS documents,
    sum(words)::BIGINT AS words
FROM 'corpus/*.parquet'
GROUP BY at_least
ORDER BY at_least;

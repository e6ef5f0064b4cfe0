-- From which hosts does the corpus come (the first 1,000)? By their full names; domains.sql puts names together.
-- Run it in a working directory: duckdb < sql/report/hosts.sql
SELECT host, count(*) AS documents, sum(words)::BIGINT AS words
FROM 'corpus/*.parquet'
GROUP BY host
ORDER BY documents DESC, host
LIMIT 1000;

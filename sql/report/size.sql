-- How large is the corpus? Bytes are those of its text in UTF-8.
-- A document without a time was posted by nobody: a list of addresses alone named it.
-- Run it in a working directory: duckdb < sql/report/size.sql
SELECT
    count(*) AS documents,
    count(DISTINCT host) AS hosts,
    coalesce(sum(words), 0)::BIGINT AS words,
    coalesce(sum(strlen(text)), 0)::BIGINT AS bytes,
    quantile_disc(words, 0.5) AS median_words,
    quantile_disc(words, 0.9) AS most_words,
    count(created) AS posted,
    year(make_timestamp(min(created) * 1000000)) AS first_year,
    year(make_timestamp(max(created) * 1000000)) AS last_year
FROM 'corpus/*.parquet';

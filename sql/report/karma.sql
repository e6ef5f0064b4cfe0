-- How is karma spread over the links that were posted, and how many of each bucket were kept? Buckets double:
-- at_least 4 means 4 to 7; the bucket 0 holds everything below 1. Links that were only listed have no karma.
-- Run it in a working directory: duckdb < sql/report/karma.sql
SELECT
    CASE WHEN score < 1 THEN 0 ELSE (1::BIGINT << floor(log2(score))::BIGINT) END AS at_least,
    count(*) AS links,
    count(*) FILTER (outcome = 'kept') AS kept
FROM 'links/*.parquet'
WHERE score_max IS NOT NULL
GROUP BY at_least
ORDER BY at_least;

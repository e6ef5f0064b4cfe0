-- Which pages asked not to be used for training, how did they say so, and were they left out?
-- Run it in a working directory: duckdb < sql/report/opt_outs.sql
WITH asked AS (
    SELECT unnest(opt_outs) AS said, outcome, host FROM 'pages/*.parquet'
)
SELECT
    said,
    count(*) AS pages,
    count(DISTINCT host) AS hosts,
    count(*) FILTER (outcome <> 'kept') AS left_out
FROM asked
GROUP BY said
ORDER BY pages DESC, said;

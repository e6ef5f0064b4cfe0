-- By which rules did documents go out of the corpus? `value` is what the median of them has, where a number decided.
-- Run it in a working directory: duckdb < sql/report/removals.sql
SELECT
    outcome,
    rule,
    threshold,
    count(*) AS documents,
    quantile_disc(value, 0.5) AS median_value
FROM 'removed/*.parquet'
GROUP BY outcome, rule, threshold
ORDER BY documents DESC, outcome, rule, threshold;

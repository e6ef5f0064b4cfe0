-- From which subreddits does the corpus come? A document counts in each subreddit that posted its link.
-- Run it in a working directory: duckdb < sql/report/subreddits.sql
WITH posted AS (
    SELECT unnest(subreddits) AS subreddit, words FROM 'corpus/*.parquet'
)
SELECT subreddit, count(*) AS documents, sum(words)::BIGINT AS words
FROM posted
GROUP BY subreddit
ORDER BY documents DESC, subreddit
LIMIT 15;

-- From which domains does the corpus come (the first 1,000)? Named as in the published list of WebText's top domains
-- (github.com/openai/gpt-2, domains.txt): bbc for www.bbc.co.uk, blogspot for any blog there. The name is the label before
-- the public suffix, by a rule of thumb: that is the last label, or the last two where these are like co.uk. An address
-- of numbers stands for itself.
-- Run it in a working directory: duckdb < sql/report/domains.sql
WITH named AS (
    SELECT
        CASE
            WHEN regexp_full_match(host, '[0-9.]+|\[.*\]') OR NOT contains(host, '.') THEN host
            WHEN regexp_matches(host, '[^.]+\.(ac|co|com|edu|gov|govt|gob|go|ne|net|nom|or|org)\.[a-z][a-z]$')
                THEN split_part(host, '.', -3)
            ELSE split_part(host, '.', -2)
        END AS domain,
        words
    FROM 'corpus/*.parquet'
)
SELECT domain, count(*) AS documents, sum(words)::BIGINT AS words
FROM named
GROUP BY domain
ORDER BY documents DESC, domain
LIMIT 1000;

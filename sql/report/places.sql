-- Where were the pages found? What was crawled lies in pages/segments, Common Crawl's records in pages/commoncrawl, and
-- everything else in WARC files that existed.
-- Run it in a working directory: duckdb < sql/report/places.sql
SELECT
    CASE
        WHEN starts_with(warc, 'segments/') THEN 'crawled'
        WHEN starts_with(warc, 'commoncrawl/') THEN 'Common Crawl'
        ELSE 'WARC files that existed'
    END AS place,
    count(*) AS pages,
    count(DISTINCT host) AS hosts,
    sum(length)::BIGINT AS bytes
FROM 'pages/*.parquet'
WHERE outcome = 'kept'
GROUP BY place
ORDER BY pages DESC, place;

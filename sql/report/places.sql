-- Where were the pages found? Files that existed are named by their whole path, Common Crawl's records lie in
-- pages/archive, and everything else was crawled.
-- Run it in a working directory: duckdb < sql/report/places.sql
SELECT
    CASE
        WHEN starts_with(warc, '/') OR contains(warc, ':') THEN 'WARC files that existed'
        WHEN starts_with(warc, 'archive/') THEN 'Common Crawl'
        ELSE 'crawled'
    END AS place,
    count(*) AS pages,
    count(DISTINCT host) AS hosts,
    sum(length)::BIGINT AS bytes
FROM 'pages/*.parquet'
WHERE outcome = 'kept'
GROUP BY place
ORDER BY pages DESC, place;

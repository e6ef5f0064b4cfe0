-- In which years (UTC) were the kept links posted, and how many of each year still had a page? NULL: nobody knows when.
-- Run it in a working directory: duckdb < sql/report/years.sql
SELECT
    year(make_timestamp(links.created * 1000000)) AS posted,
    count(*) AS links,
    count(*) FILTER (pages.outcome = 'kept') AS pages
FROM 'links/*.parquet' AS links
LEFT JOIN 'pages/*.parquet' AS pages ON pages.doc_id = links.doc_id
WHERE links.outcome = 'kept'
GROUP BY posted
ORDER BY posted NULLS LAST;

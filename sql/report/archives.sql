-- In which archives do the pages lie, and where in each the first and the last of them? Names as in the artefact: from the
-- folder of pages, or whole.
-- Run it in a working directory: duckdb < sql/report/archives.sql
SELECT warc, count(*) AS pages, min("offset") AS first_offset, max("offset") AS last_offset
FROM 'pages/*.parquet'
WHERE outcome = 'kept'
GROUP BY warc
ORDER BY warc;

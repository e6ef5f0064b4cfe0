-- Which documents went out as Wikipedia's, and by which evidence? `value` is the share of their 8-grams that stand in the
-- reference, where one was given. The clearest come first; links whose address alone says it are in funnel.sql.
-- Run it in a working directory: duckdb < sql/report/wikipedia.sql
SELECT
    removed.outcome,
    removed.url,
    documents.title,
    removed.rule,
    removed.value,
    removed.threshold
FROM 'removed/*.parquet' AS removed
JOIN 'documents/*.parquet' AS documents ON documents.doc_id = removed.doc_id
WHERE removed.outcome IN ('wikipedia_text', 'wikipedia_host')
ORDER BY removed.value DESC NULLS LAST, removed.url
LIMIT 8;

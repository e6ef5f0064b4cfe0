-- How are the signals spread over the documents, and how many of each bucket stay in the corpus? Of all on which it
-- decided. Counts are in buckets that double (0, 1, 2 to 3, …), lengths of words in tenths, shares in steps of 0.005 up to
-- 1 and more.
-- Run it in a working directory: duckdb < sql/report/signals.sql
WITH decided AS (
    SELECT documents.*, corpus.doc_id IS NOT NULL AS stays
    FROM 'documents/*.parquet' AS documents
    LEFT JOIN (SELECT doc_id FROM 'corpus/*.parquet') AS corpus ON corpus.doc_id = documents.doc_id
    WHERE documents.outcome = 'kept'
),
signals AS (
    UNPIVOT (
        SELECT
            stays,
            COLUMNS(
                * EXCLUDE (
                    url, doc_id, host, final_url, title, text, engine, language, text_hash, signature, outcome, stays
                )
            )::DOUBLE
        FROM decided
    ) ON COLUMNS(* EXCLUDE (stays)) INTO NAME signal VALUE value
),
stepped AS (
    SELECT
        stays,
        signal,
        value,
        CASE WHEN signal LIKE '%_count' THEN NULL WHEN signal = 'mean_word_length' THEN 0.1 ELSE 0.005 END::DOUBLE AS step,
        CASE WHEN signal = 'mean_word_length' THEN 25 ELSE 1 END AS most
    FROM signals
),
buckets AS (
    SELECT
        stays,
        signal,
        CASE
            WHEN step IS NOT NULL THEN round(floor(least(value, most) / step + 1e-9) * step, 3)
            WHEN value < 1 THEN 0
            ELSE (1::BIGINT << floor(log2(value))::BIGINT)::DOUBLE
        END AS at_least
    FROM stepped
)
SELECT signal, at_least, count(*) AS documents, count(*) FILTER (stays) AS stay
FROM buckets
GROUP BY signal, at_least
ORDER BY signal, at_least;

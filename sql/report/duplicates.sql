-- Who lost to whom? Pairs of documents: the one that went out as a copy, and the one that stays, with how each begins.
-- The nearest to the threshold come first: they show how alike is alike enough. `value` is the similarity.
-- Run it in a working directory: duckdb -json < sql/report/duplicates.sql
WITH ranked AS (
    SELECT
        outcome,
        value,
        threshold,
        rule,
        doc_id,
        keeper,
        row_number() OVER (PARTITION BY outcome ORDER BY value, doc_id) AS place
    FROM 'removed/*.parquet'
    WHERE outcome IN ('exact_duplicate', 'near_duplicate')
),
shown AS (
    SELECT * FROM ranked WHERE place <= CASE outcome WHEN 'near_duplicate' THEN 3 ELSE 1 END
),
texts AS (
    SELECT doc_id, url, title, language, word_count, left(text, 6000) AS begins
    FROM 'documents/*.parquet'
    WHERE doc_id IN (SELECT doc_id FROM shown UNION ALL SELECT keeper FROM shown)
)
SELECT
    shown.outcome,
    shown.value,
    shown.threshold,
    gone.url AS gone_url,
    gone.title AS gone_title,
    gone.word_count AS gone_words,
    gone.begins AS gone_begins,
    stays.url AS stays_url,
    stays.title AS stays_title,
    stays.word_count AS stays_words,
    stays.begins AS stays_begins
FROM shown
JOIN texts AS gone ON gone.doc_id = shown.doc_id
JOIN texts AS stays ON stays.doc_id = shown.keeper
ORDER BY shown.outcome DESC, shown.place;

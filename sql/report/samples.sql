-- What do documents look like that stay, and those that each rule took out? Six and three of each, drawn by a hash of the
-- id; of the twenty busiest rules. Copies are in duplicates.sql, beside what they lost to.
-- Run it in a working directory: duckdb -json < sql/report/samples.sql
WITH ended AS (
    SELECT doc_id, 'kept' AS outcome, NULL AS rule, NULL AS value, NULL AS threshold FROM 'corpus/*.parquet'
    UNION ALL
    SELECT doc_id, outcome, rule, value, threshold
    FROM 'removed/*.parquet'
    WHERE outcome NOT IN ('exact_duplicate', 'near_duplicate')
),
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY outcome, rule ORDER BY md5(doc_id), doc_id) AS place,
        count(*) OVER (PARTITION BY outcome, rule) AS documents
    FROM ended
),
shown AS (
    SELECT *, dense_rank() OVER (ORDER BY outcome <> 'kept', documents DESC, outcome, rule) AS busiest
    FROM ranked
    WHERE place <= CASE outcome WHEN 'kept' THEN 6 ELSE 3 END
)
SELECT
    shown.outcome,
    shown.rule,
    shown.value,
    shown.threshold,
    shown.documents,
    documents.url,
    documents.title,
    documents.language,
    coalesce(corpus.words, documents.word_count) AS words,
    left(coalesce(corpus.text, documents.text), 3000) AS begins
FROM shown
JOIN 'documents/*.parquet' AS documents ON documents.doc_id = shown.doc_id
LEFT JOIN 'corpus/*.parquet' AS corpus ON corpus.doc_id = shown.doc_id
WHERE shown.busiest <= 21
ORDER BY shown.busiest, shown.place;

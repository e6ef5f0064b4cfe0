-- In which languages are the documents, and how many of each stay in the corpus? NULL: too little text to tell.
-- Run it in a working directory: duckdb < sql/report/languages.sql
SELECT documents.language, count(*) AS documents, count(corpus.doc_id) AS stay
FROM 'documents/*.parquet' AS documents
LEFT JOIN 'corpus/*.parquet' AS corpus ON corpus.doc_id = documents.doc_id
WHERE documents.outcome = 'kept'
GROUP BY documents.language
ORDER BY documents DESC, documents.language;

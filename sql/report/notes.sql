-- What did each stage note while it worked? Damaged input files, and how good the deduplication was, measured by itself.
-- Run it in a working directory: duckdb < sql/report/notes.sql
WITH manifests AS (
    SELECT stage, unnest(notes) AS note, generate_subscripts(notes, 1) AS place
    FROM read_json('*/.manifest.json', columns = {stage: 'VARCHAR', notes: 'VARCHAR[]'})
)
SELECT stage, note
FROM manifests
ORDER BY list_position(['links', 'pages', 'documents', 'corpus', 'tokenizer', 'tokens'], stage), place;

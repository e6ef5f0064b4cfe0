-- With which libraries was each artefact made? Only those whose version can change its bytes are in its fingerprint.
-- Run it in a working directory: duckdb < sql/report/versions.sql
WITH entries AS (
    SELECT stage, unnest(map_entries(versions)) AS entry
    FROM read_json('*/.manifest.json', columns = {stage: 'VARCHAR', versions: 'MAP(VARCHAR, VARCHAR)'})
)
SELECT
    entry.key AS library,
    entry.value AS version,
    list(stage ORDER BY list_position(['links', 'pages', 'documents', 'corpus', 'tokenizer', 'tokens'], stage)) AS stages
FROM entries
GROUP BY library, version
ORDER BY library, version;

-- What is built: one line an artefact, with its fingerprint, and how many files, bytes and rows its manifest vouches for.
-- Run it in a working directory: duckdb < sql/report/artefacts.sql
WITH manifests AS (
    SELECT stage, shards, fingerprint, unnest(map_values(files)) AS file
    FROM read_json(
        '*/.manifest.json',
        columns = {
            stage: 'VARCHAR',
            shards: 'BIGINT',
            fingerprint: 'VARCHAR',
            files: 'MAP(VARCHAR, STRUCT(sha256 VARCHAR, bytes BIGINT, rows BIGINT))'
        }
    )
)
SELECT
    stage,
    shards,
    count(*) AS files,
    sum(file.bytes)::BIGINT AS bytes,
    sum(file.rows)::BIGINT AS row_count,
    fingerprint
FROM manifests
GROUP BY stage, shards, fingerprint
ORDER BY list_position(['links', 'pages', 'documents', 'corpus', 'tokenizer', 'tokens'], stage), stage;

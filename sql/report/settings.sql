-- With which settings was each artefact made? As its manifest has them, in JSON; the paths of input files are among them.
-- Not among them: the contact, which says who crawled and not what was made.
-- Run it in a working directory: duckdb < sql/report/settings.sql
WITH entries AS (
    SELECT stage, unnest(map_entries(settings)) AS entry
    FROM read_json('*/.manifest.json', columns = {stage: 'VARCHAR', settings: 'MAP(VARCHAR, JSON)'})
)
SELECT stage, entry.key AS setting, entry.value::VARCHAR AS value
FROM entries
WHERE entry.key <> 'contact'
ORDER BY list_position(['links', 'pages', 'documents', 'corpus', 'tokenizer', 'tokens'], stage), setting;

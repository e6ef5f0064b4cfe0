-- How many documents of the corpus held e-mail or IPv4 addresses when extracted, before corpus.redact?
-- Run it in a working directory: duckdb < sql/report/personal.sql
SELECT
    count(*) AS documents,
    count(*) FILTER (documents.email_count > 0) AS with_email,
    coalesce(sum(documents.email_count), 0)::BIGINT AS emails,
    count(*) FILTER (documents.ip_count > 0) AS with_ip,
    coalesce(sum(documents.ip_count), 0)::BIGINT AS ips
FROM 'documents/*.parquet' AS documents
JOIN (SELECT doc_id FROM 'corpus/*.parquet') AS corpus ON corpus.doc_id = documents.doc_id;

-- Common Crawl at the date of the post: for every link the capture of its page that lies nearest to it in time, one row
-- a link. `webtext build` runs it in DuckDB over the index files that pages.commoncrawl names, and again over what each
-- of them gave: the answer has the columns of the index (github.com/commoncrawl/cc-index-table, its flat schema) and is
-- a smaller index. So it can be asked where the whole index lies, and its answer downloaded:
--
-- 1. Name files to come in pages.commoncrawl. `webtext build pages` stops, but first writes scratch/wanted/*.parquet,
--    the table `wanted`: doc_id, url_surtkey (the key by which the index is sorted), address (without scheme and www.)
--    and posted (UTC). Upload these files and declare them as a table.
-- 2. Declare the index as `ccindex`: s3://commoncrawl/cc-index/table/cc-main/warc/ (src/sql/athena of that repository).
-- 3. Run this; a line such as `AND ccindex.crawl IN ('CC-MAIN-2013-48')` makes it read, and cost, those crawls alone.
-- 4. Download the answer as Parquet (Athena: UNLOAD ... WITH (format = 'PARQUET')) to the files named in step 1 and
--    build again: records are fetched by file, offset and length; nobody's index server is asked.
--
-- Runs as it is in DuckDB and Athena (Trino). Elsewhere the distance in seconds is written another way:
--   Spark     abs(unix_timestamp(ccindex.fetch_time) - unix_timestamp(wanted.posted))
--   BigQuery  abs(timestamp_diff(ccindex.fetch_time, wanted.posted, SECOND))
--
-- A key merges addresses that differ in case, in a trailing slash or in the order of parameters. A server may not, so
-- the addresses are compared as well, but for scheme and www. Of captures equally near the earlier one is taken, and of
-- several at one time the one whose digest comes first, so that the names of files decide nothing.
WITH candidates AS (
    SELECT
        wanted.doc_id,
        ccindex.url_surtkey,
        ccindex.url,
        ccindex.fetch_time,
        ccindex.fetch_status,
        ccindex.content_digest,
        ccindex.warc_filename,
        ccindex.warc_record_offset,
        ccindex.warc_record_length,
        ccindex.crawl,
        ccindex.subset,
        row_number() OVER (
            PARTITION BY wanted.doc_id
            ORDER BY
                abs(date_diff('second', ccindex.fetch_time, wanted.posted)),
                ccindex.fetch_time,
                ccindex.content_digest,
                ccindex.warc_filename,
                ccindex.warc_record_offset
        ) AS place
    FROM ccindex
    INNER JOIN wanted ON ccindex.url_surtkey = wanted.url_surtkey
    WHERE
        ccindex.subset = 'warc'
        AND ccindex.fetch_status = 200
        AND regexp_replace(ccindex.url, '^https?://(www[.])?', '') = wanted.address
)

SELECT
    doc_id,
    url_surtkey,
    url,
    fetch_time,
    fetch_status,
    content_digest,
    warc_filename,
    warc_record_offset,
    warc_record_length,
    crawl,
    subset
FROM candidates
WHERE place = 1

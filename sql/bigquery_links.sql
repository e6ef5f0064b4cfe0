-- Link posts of a BigQuery table of Reddit submissions, under Reddit's own field names, as `links.submissions` reads them.
--
-- Parameters: @first_day, @last_day (DATE, UTC, both within), @karma (INT64: all posts of an address of which at least one
-- has so much; low enough, it keeps all, and the build marks what is below its own threshold), and @table, the name in
-- backticks, which BigQuery takes as text only; a wildcard such as `project.dataset.2013_*` names many. `created_utc` is
-- in seconds since 1970. Text posts are left out, for they link to nothing.
--
-- The main road is an export to Parquet, which any machine can read afterwards:
--   query=$(sed 's/@table/`PROJECT.DATASET.TABLE`/' sql/bigquery_links.sql)
--   bq query --use_legacy_sql=false --parameter=first_day:DATE:2005-06-01 --parameter=last_day:DATE:2017-12-31 \
--     --parameter=karma:INT64:-2147483647 "EXPORT DATA OPTIONS (uri = 'gs://BUCKET/links/*.parquet', format = 'PARQUET') AS $query"
--   gcloud storage cp 'gs://BUCKET/links/*.parquet' dumps/      # then: links.submissions = ["dumps/*.parquet"]
-- The other road is the setting links.bigquery, with which Beam's BigQuery source asks this query itself.
SELECT
    id,
    url,
    score,
    created_utc,
    subreddit,
    over_18,
    is_self
FROM @table
WHERE
    NOT coalesce(is_self, FALSE)
    AND date(timestamp_seconds(created_utc)) BETWEEN @first_day AND @last_day
QUALIFY max(score) OVER (PARTITION BY url) >= @karma

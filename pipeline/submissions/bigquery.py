"""The query that makes a BigQuery table a source of submissions.

Choice: one query, `sql/bigquery_links.sql`, for the export by hand and for Beam's source. Cost: Beam's source takes no
query parameters, so their values are written into the text, and must be of a form that cannot end a literal.
Alternative: a second query for Beam, which would drift from the first.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.submissions.rows import HIGHEST_SCORE

PACKAGE = Path(__file__).resolve().parents[1]
QUERY = "bigquery_links.sql"

# What the query selects, as the Parquet files of an export hold it.
EXPORT = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("url", pa.string()),
        pa.field("score", pa.int64()),
        pa.field("created_utc", pa.int64()),
        pa.field("subreddit", pa.string()),
        pa.field("over_18", pa.bool_()),
        pa.field("is_self", pa.bool_()),
    ]
)


def query_of(table: str, first_day: str, last_day: str) -> str:
    """The query for a table and two days (config checks their form), karma unlimited: rows below the threshold stay."""
    folder = next(each for each in (PACKAGE / "sql", PACKAGE.parent / "sql") if (each / QUERY).is_file())
    lines = (folder / QUERY).read_text("utf-8").splitlines()
    query = "\n".join(line for line in lines if not line.startswith("--"))
    values = {
        "@table": f"`{table}`",
        "@first_day": f"DATE '{first_day}'",
        "@last_day": f"DATE '{last_day}'",
        "@karma": str(-HIGHEST_SCORE),
    }
    for name, value in values.items():
        query = query.replace(name, value)
    return query

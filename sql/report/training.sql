-- How did training go? At most 200 lines, each the mean of a stretch of steps, and every measurement on held-out text.
-- Losses are in nats a token. Lines that a kill cut short are left out.
-- Run it in a working directory: duckdb < sql/report/training.sql
WITH log AS (
    SELECT *
    FROM read_json(
        'model/metrics.jsonl',
        columns = {
            step: 'BIGINT',
            loss: 'DOUBLE',
            val_loss: 'DOUBLE',
            bits_per_byte: 'DOUBLE',
            learning_rate: 'DOUBLE',
            tokens_per_s: 'DOUBLE'
        },
        format = 'newline_delimited',
        ignore_errors = true
    )
    WHERE step IS NOT NULL
),
stretches AS (
    SELECT *, (step - 1) // greatest(1, ceil((SELECT max(step) FROM log) / 200.0)::BIGINT) AS stretch FROM log
)
SELECT
    max(step) AS step,
    avg(loss) AS loss,
    arg_max(val_loss, step) FILTER (val_loss IS NOT NULL) AS val_loss,
    arg_max(bits_per_byte, step) FILTER (val_loss IS NOT NULL) AS bits_per_byte,
    quantile_disc(tokens_per_s, 0.5) AS tokens_per_s
FROM stretches
GROUP BY stretch
ORDER BY step;

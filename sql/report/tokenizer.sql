-- How well does the vocabulary fit the text that it was learnt from? `webtext fertility` tells of held-out text.
-- Run it in a working directory: duckdb < sql/report/tokenizer.sql
SELECT vocab_size, merges, distinct_pre_tokens, pre_tokens, tokens, bytes_per_token, tokens_per_word, words_kept_whole
FROM read_json(
    'tokenizer/report.json',
    columns = {
        vocab_size: 'BIGINT',
        merges: 'BIGINT',
        distinct_pre_tokens: 'BIGINT',
        pre_tokens: 'BIGINT',
        tokens: 'BIGINT',
        bytes_per_token: 'DOUBLE',
        tokens_per_word: 'DOUBLE',
        words_kept_whole: 'DOUBLE'
    }
);

"""Which SQL functions a query may call. A list, and nothing else."""

_TEXT = """
    char concat concat_ws format glob hex instr length like lower ltrim octet_length printf
    quote replace rtrim soundex string_agg substr substring trim typeof unhex unicode upper
"""
_NUMBERS = """
    abs acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log
    log10 log2 mod pi pow power radians round sign sin sinh sqrt tan tanh trunc
"""
_DATES = """
    current_date current_time current_timestamp date datetime julianday strftime time timediff
    unixepoch
"""
_CHOICE = """
    coalesce if ifnull iif likelihood likely max min nullif unlikely
"""
_AGGREGATES_AND_WINDOWS = """
    avg count cume_dist dense_rank first_value group_concat lag last_value lead median nth_value
    ntile percent_rank rank row_number sum total
"""
_JSON = """
    -> ->> json json_array json_array_length json_each json_extract json_group_array
    json_group_object json_insert json_object json_patch json_quote json_remove json_replace
    json_set json_tree json_type json_valid
"""
_FULL_TEXT_SEARCH = """
    bm25 highlight match snippet
"""

# What is missing is missing on purpose: load_extension, fts3_tokenizer and the like reach out of
# the database; randomblob, zeroblob and random make results that can't be judged, or are too big.
SQLITE_FUNCTIONS = frozenset(
    " ".join(
        (_TEXT, _NUMBERS, _DATES, _CHOICE, _AGGREGATES_AND_WINDOWS, _JSON, _FULL_TEXT_SEARCH)
    ).split()
)

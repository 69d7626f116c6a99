"""Which SQL functions a query may call on each kind of database. Lists, and nothing else."""

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

_POSTGRES_TEXT = """
    ascii bit_length btrim char_length character_length chr concat concat_ws decode encode format
    initcap left length lower lpad ltrim md5 normalize octet_length overlay position regexp_count
    regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim split_part
    starts_with string_to_array string_to_table strpos substr substring to_hex translate trim upper
"""
_POSTGRES_NUMBERS = """
    abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt ceil ceiling cos cosd
    cosh cot degrees div exp factorial floor gcd lcm ln log log10 min_scale mod pi pow power
    radians round scale sign sin sind sinh sqrt tan tand tanh trim_scale trunc width_bucket
"""
_POSTGRES_DATES = """
    age current_date current_time current_timestamp date date_bin date_part date_trunc extract
    isfinite justify_days justify_hours justify_interval localtime localtimestamp make_date
    make_interval make_time make_timestamp make_timestamptz now overlaps timezone to_char to_date
    to_number to_timestamp
"""
_POSTGRES_CHOICE = """
    coalesce greatest least nullif num_nonnulls num_nulls
"""
_POSTGRES_AGGREGATES_AND_WINDOWS = """
    any_value array_agg avg bit_and bit_or bool_and bool_or corr count covar_pop covar_samp
    cume_dist dense_rank every first_value grouping json_agg json_object_agg jsonb_agg
    jsonb_object_agg lag last_value lead max min mode nth_value ntile percent_rank percentile_cont
    percentile_disc rank regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope
    row_number stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance
"""
_POSTGRES_SETS_AND_ARRAYS = """
    array array_append array_cat array_length array_lower array_ndims array_position
    array_positions array_prepend array_remove array_replace array_to_string array_upper cardinality
    daterange enum_first enum_last enum_range generate_series generate_subscripts int4range
    int8range isempty lower_inc numrange range_agg range_merge row tsrange tstzrange unnest
    upper_inc
"""
_POSTGRES_JSON = """
    array_to_json json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_extract_path json_extract_path_text
    json_object json_object_keys json_query json_strip_nulls json_to_record json_to_recordset
    json_typeof json_value jsonb_array_elements jsonb_array_elements_text jsonb_array_length
    jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path
    jsonb_extract_path_text jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_query
    jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls
    jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json to_json to_jsonb
"""
_POSTGRES_FULL_TEXT_SEARCH = """
    numnode phraseto_tsquery plainto_tsquery to_tsquery to_tsvector ts_headline ts_rank ts_rank_cd
    websearch_to_tsquery
"""

# Missing on purpose: what sleeps, locks, sets, reads files, settings or statistics, writes large
# objects or sequences, reaches other servers, makes chance, or runs SQL that is hidden in a text
# (query_to_xml, ts_stat, ts_rewrite, crosstab …); and every function that somebody has made.
POSTGRES_FUNCTIONS = frozenset(
    " ".join(
        (
            _POSTGRES_TEXT,
            _POSTGRES_NUMBERS,
            _POSTGRES_DATES,
            _POSTGRES_CHOICE,
            _POSTGRES_AGGREGATES_AND_WINDOWS,
            _POSTGRES_SETS_AND_ARRAYS,
            _POSTGRES_JSON,
            _POSTGRES_FULL_TEXT_SEARCH,
        )
    ).split()
)

"""Finds the SQL in a model's answer: the same way for every model. Knows chatter, runs nothing.

What is found is kept as the model wrote it, several statements and mistakes included: judging them
is the sandbox's business. Only what surely isn't SQL goes: reasoning, fences, talk before and
after, full-width punctuation outside of quotes, a closing semicolon.
"""

import json
import re

# A statement begins like this. Shapes, not words: "Select the names …" and "with this" are talk.
_QUERY = (
    r"(?:\(\s*){0,5}SELECT\b|VALUES\s*\("
    r"|WITH\s+(?:RECURSIVE\s+)?[\w\"`\[\]]+\s*(?:\([^()]*\)\s*)?AS\b"
)
_OTHER = (
    r"INSERT\s+(?:OR\s+\w+\s+)?INTO\b|REPLACE\s+INTO\b|UPDATE\s+\S+\s+SET\b|DELETE\s+FROM\b"
    r"|(?:DROP|ALTER)\s+(?:TABLE|VIEW|INDEX|TRIGGER)\b"
    r"|CREATE\s+(?:TEMP\w*\s+|UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|VIEW|INDEX|TRIGGER)\b"
    r"|ATTACH\s+(?:DATABASE\s+)?['\"]|DETACH\s|VACUUM\b|PRAGMA\s+\w|REINDEX\b|ANALYZE\s*(?:;|\Z)"
    r"|EXPLAIN\s+(?:QUERY|SELECT|WITH)\b|BEGIN\b\s*(?:;|TRANSACTION)|SET\s+\w+\s*(?:=|TO\b)"
)
_START = re.compile(rf"(?<![\w.])(?:{_QUERY}|{_OTHER})", re.IGNORECASE)
_FENCE = re.compile(r"(?:```|~~~)(.*?)(?:```|~~~|\Z)", re.DOTALL)
_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"\A.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_END_TOKEN = re.compile(r"<\|[\w▁]+\|>|</s>|<end_of_turn>|<eos>")
_LONGEST = 50_000  # characters of an answer that are looked at
_INVISIBLE = dict.fromkeys(map(ord, "\x00\ufeff\u200b\u200c\u200d\u2060"))
_QUOTED = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]\n]*\]|‘[^’]*’|“[^”]*”|--[^\n]*|/\*.*?\*/""",
    re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
# What a sentence that begins with "Select" seldom has soon after, and a query always.
_CLAUSE = re.compile(r"\b(?:FROM|WHERE|UNION|LIMIT)\b|[*()=<>'\\\d_]", re.IGNORECASE)
_LABEL = re.compile(
    r"(?<![\w:.])(?:question|answer|explanation|note|output|result|input|sql|query|user|assistant"
    r"|问题|答案|回答|解释|说明|注意?|备注|结果|输出|输入|查询)\s*[:：](?!:)|</\w|###|[。！？]",
    re.IGNORECASE,
)
_TALK = re.compile(r"[A-Z][a-z']+\s+[a-z]|[#>*•-]|\d+[.)]\s|[\u4e00-\u9fff]")
_CLAUSE_WORDS = """
    all and as asc between by case collate cross desc distinct else end escape except exists
    filter from full glob group having in inner intersect is join left like limit natural not
    null nulls offset on or order outer over partition returning right select then union using
    values when where window with
"""
_CONTINUES = frozenset(_CLAUSE_WORDS.split())
_EXPECTS_MORE = _CONTINUES - {"all", "asc", "desc", "end", "null", "nulls"}
_FULL_WIDTH = str.maketrans("，；（）＝＞＜＊＋\u3000\u00a0", ",;()=><*+  ")


def extract_sql(answer: str) -> str | None:
    """The SQL of an answer, without its closing semicolon; None if there is none.

    Of several fenced blocks the first that begins as a statement counts, else the first statement
    in the text. An answer whose <think> never closes has no SQL.
    """
    text = _END_TOKEN.split(answer[:_LONGEST].translate(_INVISIBLE), maxsplit=1)[0]
    text = _THOUGHT_END.sub("", _THOUGHT.sub("", text)).strip()
    head, fence, _ = text.partition("```")
    if fence and _START.match(head):  # the prompt had opened the fence, the answer closes it
        return _clean(head, 0, fenced=True)
    for fence in _FENCE.finditer(text):
        for start in _starts(fence.group(1)):
            return _clean(fence.group(1), start.start(), fenced=True)
    text = text.replace("```", " ")
    starts = [start for start in _starts(text) if _stands_as_sql(text, start)]
    # "Select the customers from …" opens a sentence as well as a query: taken last.
    starts.sort(key=lambda start: start.group()[:6].istitle())
    return _clean(text, starts[0].start(), fenced=False) if starts else None


def _starts(text: str) -> list[re.Match]:
    return list(_START.finditer(_COMMENT.sub(lambda found: " " * len(found.group()), text)))


def _stands_as_sql(text: str, start: re.Match) -> bool:
    """Whether a statement begins here, not a sentence: on a line of its own, behind a colon or a
    quote, or in capitals; a query has a clause or a sign soon after."""
    before = text[: start.start()].rstrip(" \t*")
    first = start.group().lstrip("( \n")
    at_edge = not before or before[-1] in "\n:：`\"'。;；>)）" or first[:4].isupper()
    if not first.lower().startswith(("select", "with", "values")):
        return at_edge
    return at_edge and _CLAUSE.search(text, start.end(), start.end() + 600) is not None


def _clean(text: str, start: int, *, fenced: bool) -> str | None:
    sql = _unwrapped(text[start - 1 : start], text[start:])
    sql = sql[: _end(sql, fenced=fenced)]
    sql = _straight(sql).strip().rstrip("; \n\t")
    return sql or None


def _unwrapped(opening: str, rest: str) -> str:
    """`SELECT …`, "SELECT …" or {"sql": "SELECT …"} without what closes the quote."""
    if opening == '"':
        try:
            value, end = json.JSONDecoder().raw_decode(opening + rest)
        except ValueError:
            pass
        else:
            if re.match(r"\s*(?:[,}\])]|\Z)", rest[end - 1 :]):
                return value
    if opening and opening in "`\"'" and rest.count(opening) % 2 == 1:
        return rest[: rest.rindex(opening)]  # the closing quote is the odd one out
    return rest


def _end(sql: str, *, fenced: bool) -> int:
    """Where the statement, or the last of several, ends."""
    masked = _QUOTED.sub(lambda found: "x" * len(found.group()), sql)
    end = len(sql)
    for mark in re.finditer(r"[;；]", masked):
        after = _COMMENT.sub("", sql[mark.end() :]).lstrip(" \t\n;；")
        if not _START.match(after):
            end = mark.start()
            break
    if fenced:  # what stands in a fence is code
        return end
    if label := _LABEL.search(masked, 0, end):
        end = label.start()
    for line in re.finditer(r"\n([ \t]*\n)*[ \t]*(?=\S)", masked[:end]):
        before, after = masked[: line.start()], masked[line.end() : end]
        if _is_talk(before, after, blank=line.group(1) is not None):
            return line.start()
    return end


def _is_talk(before: str, after: str, *, blank: bool) -> bool:
    """Whether a line is no longer SQL. `before` and `after` are masked: quotes hold only x."""
    if before.count("(") + before.count("（") > before.count(")") + before.count("）"):
        return False
    last = re.search(r"(\w+)\Z|([,，=<>+*/|(（-])\Z", before[-200:].rstrip()[-30:])
    if last and (last.group(2) or last.group(1).lower() in _EXPECTS_MORE):
        return False
    line = after.partition("\n")[0].strip()
    word = re.match(r"\w*", line).group()
    if word.lower() in _CONTINUES:
        return word.istitle() and line[-1] in ".:!"
    if line[0] in ",;)，；）":
        return False
    return blank or _TALK.match(line) is not None


def _straight(sql: str) -> str:
    """Full-width punctuation and curly quotes made plain, outside of quotes and comments."""
    parts = []
    done = 0
    for quoted in _QUOTED.finditer(sql):
        parts.append(_plain(sql[done : quoted.start()]))
        text = quoted.group()
        if text[0] == "‘":
            text = "'" + text[1:-1].replace("'", "''") + "'"
        elif text[0] == "“":
            text = '"' + text[1:-1].replace('"', '""') + '"'
        parts.append(text)
        done = quoted.end()
    parts.append(_plain(sql[done:]))
    return "".join(parts)


def _plain(code: str) -> str:
    # 金额（元） is a bare identifier to SQLite: brackets behind a Chinese word stay as they are.
    kept = re.split(r"((?<=[\u4e00-\u9fff])（[\u4e00-\u9fff\w]+）)", code)
    return "".join(p if i % 2 else p.translate(_FULL_WIDTH) for i, p in enumerate(kept))

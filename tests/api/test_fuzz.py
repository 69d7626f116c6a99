"""A bounded run of what `make fuzz` does for long: made-up requests bring no 500 and no answer that
the document does not know."""

from pathlib import Path

from tests.fuzz import Summary, api_on, fuzz


def test_no_made_up_request_breaks_the_api_or_the_document(tmp_path: Path) -> None:
    summary = Summary()
    with api_on(f"sqlite:///{tmp_path / 'tuneyard.db'}", tmp_path) as (app, key, ids):
        fuzz(app, key, summary, seed=1, seconds=20, examples=2, ids=ids, edges=False)
    assert not summary.failures, str(summary)
    assert summary.requests > 100, str(summary)
    assert 500 not in summary.statuses

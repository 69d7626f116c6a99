"""How a platform is reached, and that one data directory has one platform."""

import json

import pytest

from cli.platform.connection import Connection, read_connection, write_connection
from cli.platform.datadir import fresh_log, own_data_dir
from cli.platform.errors import Refused

KNOWN = Connection("http://127.0.0.1:1", "key", "http://127.0.0.1:2", "tuneyard", "pass", {"up": 1})


def test_what_was_written_is_read_and_only_the_owner_can(tmp_path):
    write_connection(tmp_path, KNOWN)
    assert read_connection(tmp_path) == KNOWN
    assert (tmp_path / "connection.json").stat().st_mode & 0o777 == 0o600
    assert list(json.loads((tmp_path / "connection.json").read_text())) == [
        *("base_url", "api_key", "flower_url", "flower_user", "flower_password", "pids")
    ]


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"base_url": "x"}'])
def test_a_file_that_is_none_counts_as_absent(tmp_path, text):
    if text is not None:
        (tmp_path / "connection.json").write_text(text)
    assert read_connection(tmp_path) == Connection()


def test_a_data_directory_has_one_owner(tmp_path):
    refused = pytest.raises(Refused, match=r"is in use by another `tuneyard up` \(pid \d+\)")
    with own_data_dir(tmp_path / "d"), refused, own_data_dir(tmp_path / "d"):
        pass
    with own_data_dir(tmp_path / "d"):
        assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700


def test_a_data_directory_that_can_not_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="data directory"), own_data_dir(tmp_path / "file"):
        pass


def test_the_log_of_the_run_before_is_kept_once(tmp_path):
    with own_data_dir(tmp_path):
        for run in ("first", "second", "third"):
            fresh_log(tmp_path, "api").write_text(run)
    assert (tmp_path / "logs/api.log").read_text() == "third"
    assert (tmp_path / "logs/api.log.1").read_text() == "second"

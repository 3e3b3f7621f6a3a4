import json
import os

import pytest

from transm3e.errors import UserError
from transm3e.prepare.check.cache import MARK, key, open_cache


def test_findings_are_kept_and_half_a_line_is_passed_over(tmp_path):
    file = tmp_path / "files.jsonl"
    with open_cache(file) as cache:
        cache.put("a", {"frames": 3})
        cache.put("b", "")
    assert file.read_text().splitlines()[0] == MARK
    file.write_text(file.read_text() + '{"key": "c", "val')
    with open_cache(file) as cache:
        assert (cache.get("a"), cache.get("b"), cache.get("c")) == ({"frames": 3}, "", None)
        cache.put("c", "fault")
    with open_cache(file) as cache:
        assert cache.get("c") == "fault"
    with open_cache(None) as cache:
        cache.put("a", 1)
        assert cache.get("a") == 1


def test_a_foreign_file_is_left_alone(tmp_path):
    file = tmp_path / "clips.csv"
    file.write_text("path,split\n")
    with pytest.raises(UserError, match="left as it is"), open_cache(file):
        pass
    assert file.read_text() == "path,split\n"
    with pytest.raises(UserError, match="choose another --cache"), open_cache(tmp_path / "none" / "files.jsonl"):
        pass


def test_a_key_changes_with_the_file(tmp_path):
    file = tmp_path / "a.mp4"
    keys = [key("video", "a.mp4", file, "all")]
    file.write_bytes(b"1")
    keys.append(key("video", "a.mp4", file, "all"))
    os.utime(file, ns=(1, 1))
    keys.append(key("video", "a.mp4", file, "all"))
    file.write_bytes(b"12")
    os.utime(file, ns=(1, 1))
    keys += [key("video", "a.mp4", file, "all"), key("video", "a.mp4", file, "first")]
    assert len(set(keys)) == len(keys)
    assert all(json.loads(one)[1] == "a.mp4" for one in keys)

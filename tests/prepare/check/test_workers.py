import json
import os
import time

import pytest

from transm3e.errors import UserError
from transm3e.prepare.check.cache import MARK, key, open_cache
from transm3e.prepare.check.workers import Lost, run_limited
from transm3e.progress import map_with_progress


def misbehave(item):
    if item == "hang":
        time.sleep(600)
    if item == "crash":
        os._exit(11)
    if item == "raise":
        raise IndexError("tuple index out of range\nsecond line")
    return item.upper()


def test_files_that_hang_crash_or_raise_cost_only_themselves():
    items = ["a", "hang", "b", "crash", "raise", "c", "crash", "d"]
    begun = time.monotonic()
    results = dict(run_limited(misbehave, items, 2, 2.0))
    assert time.monotonic() - begun < 60
    assert sorted(results) == list(range(8))
    assert [results[i] for i in (0, 2, 5, 7)] == ["A", "B", "C", "D"]
    assert results[1] == Lost("took longer than 2 s; raise --timeout, or re-encode it")
    assert results[3] == results[6] == Lost("the decoder crashed on it; re-encode it")
    assert results[4] == Lost("cannot be checked: IndexError: tuple index out of range")


def test_the_first_exception_ends_the_work():
    begun = []

    def work(item):
        begun.append(item)
        if item == 0:
            raise UserError("disk full")
        time.sleep(0.001)
        return item

    with pytest.raises(UserError, match="disk full"):
        map_with_progress(work, range(3000), 1, "items")
    assert len(begun) < 3000
    assert map_with_progress(lambda item: item + 1, range(5), 3, "items") == [1, 2, 3, 4, 5]


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

"""Files appear whole or not at all: full disks, read-only folders, errors on the way."""

import errno
import os
from pathlib import Path

import pytest

from transm3e.errors import UserError
from transm3e.files import atomic_path, atomic_write_text, make_folder


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def write_half(file, error):
    with atomic_path(file) as partial:
        partial.write_text("half")
        raise error


def write_to_full_device(file):
    with atomic_path(file) as partial:
        partial.symlink_to("/dev/full")
        partial.write_text("new")


def no_space(*_args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_text_is_written_and_replaced(tmp_path):
    file = tmp_path / "a.json"
    atomic_write_text(file, "ä\n")
    assert file.read_text(encoding="utf-8") == "ä\n"
    atomic_write_text(str(file), "b")
    assert file.read_text(encoding="utf-8") == "b"
    assert names(tmp_path) == ["a.json"]


def test_the_file_appears_only_at_the_end_and_keeps_its_suffix(tmp_path):
    file = tmp_path / "clip.mp4"
    with atomic_path(file) as partial:
        partial.write_bytes(b"x")
        assert not file.exists()
        assert (partial.parent, partial.suffix) == (tmp_path, ".mp4")
        assert str(os.getpid()) in partial.name
    assert file.read_bytes() == b"x"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_an_error_on_the_way_leaves_the_old_file_and_no_partial(tmp_path, error):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(type(error)):
        write_half(file, error)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_disk_that_is_full_at_the_sync(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_text("old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: disk full \(No space left on device\); free space"):
        atomic_write_text(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_full_while_writing(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(UserError, match="No space left on device"):
        write_to_full_device(file)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_body_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(UserError, match="No such file"), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize(("name", "why"), [("gone/a.txt", "No such file"), ("file/a.txt", "Not a directory")])
def test_no_such_folder(tmp_path, name, why):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=why):
        atomic_write_text(tmp_path / name, "x")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(UserError, match="name too long"):
        atomic_write_text(tmp_path / f"{'a' * 254}.txt", "x")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="Permission denied"):
            atomic_write_text(file, "new")
        assert file.read_text() == "old"
    finally:
        tmp_path.chmod(0o700)


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system has no /proc to look up a handle in")
    atomic_write_text(tmp_path / "a.txt", "x")
    assert [Path(name).name for name in synced] == [f".a.{os.getpid()}.txt", tmp_path.name]


def test_a_folder_that_cannot_be_made_is_told_with_what_names_it(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot make the folder .*file/out: Not a directory; choose another --out"):
        make_folder(tmp_path / "file" / "out", "--out")

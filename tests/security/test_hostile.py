"""Malicious files: no code in them runs, claimed sizes take no memory, and no other files are read."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from contextlib import suppress

import cv2
import numpy as np
import pytest
import torch

from tests.security.limits import LITTLE, bounded, write
from tests.security.readers import READERS
from tests.security.samples import sample_video
from transm3e.config import load_cfg
from transm3e.data.annotations import Clip, read_clip_table, table_from_clips
from transm3e.data.container import MAX_PIXELS
from transm3e.data.decode import DecodeError, Video
from transm3e.data.flow import open_flow
from transm3e.data.images import files_by_number, read_image
from transm3e.data.reading import ClipReader
from transm3e.data.skeleton import read_skeleton
from transm3e.errors import UserError
from transm3e.foreign.npz import Archive, ArchiveError
from transm3e.models.weights import read_checkpoint
from transm3e.prepare.check.cache import MARK, key
from transm3e.prepare.check.table import CheckSettings, check_table
from transm3e.report.scores import read_predictions
from transm3e.runs.results import read_results
from transm3e.unpickle import read_pickle


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, proof):
        self.proof = str(proof)

    def __reduce__(self):
        return open, (self.proof, "w")


# What may hold a pickle, by name, and as what.
PICKLES = {
    "a.pkl": pickle.dumps,
    "a.npz": lambda value: _npz(np.array([value], object)),
    "a.pyth": lambda value: _torch(value),
    "a.pth": lambda value: _torch(value, _use_new_zipfile_serialization=False),
    "a.pt": pickle.dumps,
}


def _torch(value, **how):
    file = io.BytesIO()
    torch.save({"model_state": {"a": torch.ones(1)}, "x": value}, file, **how)
    return file.getvalue()


def _npz(array):
    file = io.BytesIO()
    np.savez(file, keypoint=array, scores=array, mark=array)
    return file.getvalue()


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("read", [read_pickle, read_checkpoint, read_skeleton, read_predictions, open_flow, Archive])
def test_no_payload_runs(name, read, tmp_path):
    proof = tmp_path / "ran"
    file = write(tmp_path / name, PICKLES[name](Payload(proof)))
    # The first pickle of an old file of torch is a number, which may be read.
    with suppress(UserError, DecodeError, ArchiveError):
        Archive.all(read(file)) if read is Archive else read(file)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Payload(proof))).close()
    assert proof.exists(), "the payload is harmless"


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_no_payload_runs_in_any_reader(reader, tmp_path):
    proof = tmp_path / "ran"
    for name, make in PICKLES.items():
        folder = tmp_path / name
        folder.mkdir()
        file = folder / (reader.suffix if not reader.suffix.startswith(".") else f"file{reader.suffix}")
        write(file, make(Payload(proof)))
        with suppress(*reader.errors):
            reader.read(file)
        assert not proof.exists(), name


def _deep_key(depth):
    """A dict whose key is a tuple in a tuple in a tuple ...: hash() ends the process on the way down."""
    return b"\x80\x02})" + b"\x85" * depth + b"K\x01s."


PICKLE_BOMBS = {
    "memo": b"\x80\x02K\x01r\xff\xff\xff\x1f.",
    "tuples": _deep_key(2_000_000),
    "tuples by memo": b"\x80\x02})" + b"q\x00\x85h\x000" * 200_000 + b"K\x01s.",
    "bytes": b"\x80\x05\x8e" + struct.pack("<Q", 2**45) + b"x.",
    "frame": b"\x80\x05\x95" + struct.pack("<Q", 2**60) + b"N.",
    "long": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
}


@pytest.mark.parametrize("name", PICKLE_BOMBS)
def test_a_pickle_cannot_end_the_process(name, tmp_path):
    for suffix in (".pkl", ".pyth"):
        # As torch's old files begin: a number, a version, what machine.
        start = b"" if suffix == ".pkl" else pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) * 2
        file = write(tmp_path / f"a{suffix}", start + PICKLE_BOMBS[name])
        with pytest.raises(UserError), bounded(10, LITTLE):
            (read_pickle if suffix == ".pkl" else read_checkpoint)(file)


def test_a_torch_zip_with_such_a_pickle_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pyth", "w") as archive:
        archive.writestr("a/data.pkl", _deep_key(2_000_000))
        archive.writestr("a/version", "3")
    with pytest.raises(UserError, match="tuples nested deeper than 100"):
        read_checkpoint(tmp_path / "a.pyth")


def test_tar_files_and_compressed_records_are_refused_before_torch_sees_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    with tarfile.open(tmp_path / "a.pyth", "w") as archive:
        # A name that begins as torch's old files do.
        info = tarfile.TarInfo("storages")
        archive.addfile(info, io.BytesIO())
    with pytest.raises(UserError, match=r"not written by torch\.save"):
        read_checkpoint(tmp_path / "a.pyth")
    head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    raw = bytearray(head.ljust(100, b"\0") + (tmp_path / "a.pyth").read_bytes()[100:])
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:512]))
    with pytest.raises(UserError, match="a tar file"):
        read_checkpoint(write(tmp_path / "b.pyth", bytes(raw)))
    with zipfile.ZipFile(tmp_path / "c.pyth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c/data.pkl", pickle.dumps({}))
        archive.writestr("c/data/0", bytes(10**7))
    with pytest.raises(UserError, match="compressed records"):
        read_checkpoint(tmp_path / "c.pyth")


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    torch.save({"a": torch.ones(1).expand(10**7, 10**6)}, tmp_path / "a.pyth")
    with pytest.raises(UserError, match=r"the tensor 'a' is nested or larger than the file"):
        read_checkpoint(tmp_path / "a.pyth")


def _claiming(shape, size=8, compressed=True):
    file = io.BytesIO()
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name in ("keypoint", "scores", "mark", "num_frames"):
            archive.writestr(f"{name}.npy", head.getvalue() + bytes(size))
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [_claiming((10**12,)), _claiming((2**40, 2**40)), _claiming((-1, -1)), _claiming((0, 10**15), 0)]
)
@pytest.mark.parametrize("read", [read_skeleton, read_predictions, open_flow])
def test_a_header_that_claims_terabytes_is_an_error(content, read, tmp_path):
    file = write(tmp_path / "a.npz", content)
    with pytest.raises((UserError, DecodeError)) as caught, bounded(10, LITTLE):
        read(file)
    assert not isinstance(caught.value.__cause__, MemoryError)


def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("keypoint.npy", "w", force_zip64=True) as member:
            for _ in range(1040):
                member.write(bytes(1 << 20))
    assert (tmp_path / "a.npz").stat().st_size < 10**7
    with pytest.raises(DecodeError, match="unpacks to 1090519040 bytes; allowed: 1073741824"), bounded(10, LITTLE):
        read_skeleton(tmp_path / "a.npz")


def test_an_entry_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("keypoint.npy", "w", force_zip64=True) as member:
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (1000,)})
            member.write(head.getvalue())
            for _ in range(700):
                member.write(bytes(1 << 20))
    raw = (tmp_path / "a.npz").read_bytes()
    true, said = (struct.pack("<I", size) for size in (len(head.getvalue()) + (700 << 20), len(head.getvalue()) + 1000))
    assert true in raw
    with (
        pytest.raises(ArchiveError),
        bounded(10, LITTLE),
        Archive(write(tmp_path / "b.npz", raw.replace(true, said))) as a,
    ):
        a["keypoint"]


@pytest.mark.parametrize("cell", ["../a.mp4", "a/../../b.mp4", "/etc/passwd", "a\x00.mp4", "a\x1b[2Jb.mp4", "x" * 5000])
@pytest.mark.parametrize("column", ["path", "skeleton", "flow"])
def test_names_in_a_clip_table_stay_inside_the_data_root(cell, column, tmp_path):
    cells = {"path": "a.mp4", "skeleton": "a.npz", "flow": "a.mp4"} | {column: cell}
    write(
        tmp_path / "clips.csv",
        f"path,split,activity,muscles,skeleton,flow\n{cells['path']},train,a,1,{cells['skeleton']},{cells['flow']}\n",
    )
    with pytest.raises(UserError, match=rf"clips\.csv:2: {column} .*(leaves the data root|control characters)"):
        read_clip_table(tmp_path)


def test_links_inside_the_data_root_are_followed(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    root.mkdir()
    write(elsewhere / "a.mp4", sample_video(".mp4"))
    (root / "videos").symlink_to(elsewhere)
    write(root / "clips.csv", "path,split,activity,muscles\nvideos/a.mp4,train,a,1\n")
    name = str(read_clip_table(root).paths[0])
    video = Video(root / name)
    assert video.num_frames == 6
    video.close()


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile secret.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_disguised_playlist_reads_no_other_file(name, tmp_path):
    write(tmp_path / "secret.mp4", sample_video(".mp4"))
    write(tmp_path / "secret.ts", sample_video(".ts"))
    file = write(tmp_path / "clip.mp4", PLAYLISTS[name])
    with pytest.raises(DecodeError, match=r"in no format of video files|cannot be decoded"), bounded(10, LITTLE):
        Video(file)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".webp"])
def test_an_image_that_claims_gigapixels_is_refused_before_decoding(kind, tmp_path):
    data = bytearray(
        cv2.imencode(kind, np.zeros((8, 8, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101] if kind == ".webp" else [])[
            1
        ].tobytes()
    )
    if kind == ".png":
        data[16:24] = struct.pack(">II", 20_000, 20_000)
    elif kind == ".jpg":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", 20_000, 20_000)
    elif kind == ".bmp":
        data[18:26] = struct.pack("<ii", 20_000, -20_000)
    else:
        data[21:25] = struct.pack("<I", 16383 | 16383 << 14)
    with pytest.raises(DecodeError, match=rf"pixels; at most {MAX_PIXELS} are read"), bounded(10, LITTLE):
        read_image(write(tmp_path / f"a{kind}", bytes(data)))


def test_a_video_that_claims_gigapixels_is_refused(tmp_path):
    gif = (
        b"GIF89a"
        + struct.pack("<HH", 16_000, 9_000)
        + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    )
    with pytest.raises(DecodeError), bounded(20, LITTLE):
        Video(write(tmp_path / "a.gif", gif)).frames([0])


def test_numbers_of_images_may_be_far_apart(tmp_path):
    for number in (1, 2, 1690000000123456):
        write(tmp_path / f"img_{number}.jpg", b"")
    with pytest.raises(
        DecodeError, match=r"lacks 1690000000123453 of the frames 1 to 1690000000123456: 3, 4, 5, \.\.\."
    ):
        with bounded(10, LITTLE):
            files_by_number(tmp_path)


@pytest.mark.parametrize(
    "read",
    [
        read_skeleton,
        read_pickle,
        read_checkpoint,
        read_predictions,
        open_flow,
        read_results,
        read_image,
        load_cfg,
        Video,
    ],
)
def test_a_pipe_is_refused_without_waiting(read, tmp_path):
    for name in ("a.npz", "a.pkl", "a.yaml"):
        os.mkfifo(tmp_path / name)
        with pytest.raises((UserError, DecodeError)), bounded(10, LITTLE):
            read(tmp_path / name)


@pytest.mark.parametrize("value", [{"fault": 3}, {"frames": 9, "other": 1}, [], "x", None])
def test_a_cache_with_other_content_is_ignored(value, tmp_path):
    table = table_from_clips([Clip("a.mp4", "train", "a", ())])
    name = key("video", "a.mp4", tmp_path / "a.mp4", "none", 0)
    lines = [{"key": ["no", "text"], "value": 1}, {"key": name, "value": value}]
    write(tmp_path / "cache", "\n".join([MARK, *map(json.dumps, lines), "[" * 10**5, ""]))
    checked = check_table(table, CheckSettings(tmp_path, "none", cache=tmp_path / "cache"))
    assert [found.reason for found in checked.problems] == ["file does not exist"]


def test_time_stamps_that_span_years_are_refused():
    from types import SimpleNamespace

    reader = SimpleNamespace(decoding=SimpleNamespace(target_fps=30.0))
    video = SimpleNamespace(path="a.mp4", seconds=np.array([0.0, 1e9]))
    with pytest.raises(DecodeError, match="its time stamps jump"), bounded(10, LITTLE):
        ClipReader._shown(reader, video, 2)


def test_an_unknown_codec_is_an_error(tmp_path):
    content = sample_video(".avi", "XVID")
    assert b"XVID" in content
    file = write(tmp_path / "clip.avi", content.replace(b"XVID", b"Q?Q?"))
    with pytest.raises(DecodeError, match="its codec cannot be decoded here"):
        Video(str(file))

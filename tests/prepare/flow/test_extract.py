import os
from contextlib import closing

import cv2
import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from transm3e.data.annotations import read_clip_table
from transm3e.data.encode import write_video
from transm3e.data.flow import open_flow
from transm3e.data.flow.coding import REST, to_pixels
from transm3e.errors import UserError
from transm3e.prepare.flow.estimate import DisFlow, RaftFlow
from transm3e.prepare.flow.extract import FlowSettings, extract_table

STEP = (5, -3)  # pixels per frame, right and up
HEADER = "note,path,split,activity,muscles,skeleton\n"


def texture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)


def moving(count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """A window that moves over a texture, so that the image moves by STEP per frame."""
    big = texture(height + 60, width + 60)
    starts = [(20 - STEP[1] * t, 40 - STEP[0] * t) for t in range(count)]
    return [np.repeat(big[y : y + height, x : x + width, None], 3, 2) for y, x in starts]


@pytest.fixture
def data(tmp_path):
    """Two clips, of which one is broken, in a table with a column of its own."""
    write_video(tmp_path / "a.mp4", moving(6), 25, crf=5)
    (tmp_path / "b.avi").write_text("no video")
    rows = '"x, ""y""",a.mp4,train,squat,biceps;7,\n,b.avi,known_val,squat,none,b.json\n'
    (tmp_path / "clips.csv").write_text(HEADER + rows)
    return tmp_path


def status(results):
    return [result.status for result in results]


@pytest.mark.parametrize("form", ["video", "npz"])
def test_known_motion_is_found_again_within_a_quarter_pixel(data, form):
    results = extract_table(data, FlowSettings(format=form), workers=1, update=True)
    assert status(results) == ["made", "failed"]
    table = read_clip_table(data)
    with closing(open_flow(data / table.flows[0])) as flow:
        assert flow.num_frames == 6
        clip = flow.frames(range(6))
    error = np.abs(to_pixels(clip[1:, 16:-16, 16:-16], 20.0) - STEP)
    assert np.median(error) < 0.1
    assert np.percentile(error, 99) < 0.25
    assert (clip[0] == REST).all()


def test_the_table_keeps_its_rows_and_columns(data):
    extract_table(data, FlowSettings(preset="fast"), workers=1, update=True)
    lines = (data / "clips.csv").read_text().splitlines()
    assert lines == [
        HEADER.strip() + ",flow",
        '"x, ""y""",a.mp4,train,squat,biceps;7,,flow/a.mp4',
        ",b.avi,known_val,squat,none,b.json,",
    ]


def test_a_second_call_makes_only_what_is_old_or_other(data):
    fast = FlowSettings(preset="fast")
    assert status(extract_table(data, fast, 1)) == ["made", "failed"]
    assert status(extract_table(data, fast, 1)) == ["kept", "failed"]
    assert status(extract_table(data, FlowSettings(preset="fast", bound=10.0), 1)) == ["made", "failed"]
    with closing(open_flow(data / "flow/a.mp4")) as flow:
        assert flow.bound == 10.0
        assert np.median(to_pixels(flow.frames([3]), 10.0)[..., 0]) == pytest.approx(STEP[0], abs=0.25)
    later = (data / "flow/a.mp4").stat().st_mtime + 5
    os.utime(data / "a.mp4", (later, later))
    assert status(extract_table(data, FlowSettings(preset="fast", bound=10.0), 1)) == ["made", "failed"]


def test_foreign_files_are_left_alone(data):
    (data / "flow").mkdir()
    write_video(data / "flow/a.mp4", moving(2), 25)
    before = (data / "flow/a.mp4").read_bytes()
    results = extract_table(data, FlowSettings(preset="fast"), 1)
    assert results[0].status == "failed"
    assert "was not made by transm3e flow" in results[0].reason
    assert (data / "flow/a.mp4").read_bytes() == before


def test_folders_of_images_and_frames_of_odd_size_have_flow_too(tmp_path):
    (tmp_path / "clip").mkdir()
    for number, image in enumerate(moving(4, 97, 131)):
        assert cv2.imwrite(str(tmp_path / f"clip/{number:03d}.png"), image)
    (tmp_path / "clips.csv").write_text("path,split,activity,muscles\nclip,train,squat,none\n")
    assert status(extract_table(tmp_path, FlowSettings(short_side=64), 1)) == ["made"]
    with closing(open_flow(tmp_path / "flow/clip.mp4")) as flow:
        assert (flow.num_frames, flow.size) == (4, (64, 86))
        x, y = np.median(to_pixels(flow.frames([2])[0], 20.0), (0, 1))
    assert (x, y) == pytest.approx((STEP[0] * 64 / 97, STEP[1] * 64 / 97), abs=0.25)


def test_raft_takes_the_users_weights(tmp_path):
    torch.manual_seed(0)
    model = raft_small(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "raft.pth")
    frames = moving(2, 128, 136)
    got = RaftFlow(tmp_path / "raft.pth")(*frames)
    images = [torch.from_numpy(frame.copy()).permute(2, 0, 1)[None] / 127.5 - 1 for frame in frames]
    with torch.inference_mode():
        expected = model(*images)[-1][0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert RaftFlow(tmp_path / "raft.pth")(*moving(2, 50, 61)).shape == (50, 61, 2)


def test_raft_refuses_other_weights(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name, message in {
        "other.pth": "neither of",
        "text.pth": "holds no weights",
        "none.pth": "no weights at",
    }.items():
        with pytest.raises(UserError, match=message):
            RaftFlow(tmp_path / name)


def test_settings_out_of_range_are_named():
    for settings, message in [
        ({"method": "tvl1"}, "method 'tvl1': allowed are dis, raft"),
        ({"format": "jpg"}, "format 'jpg': allowed are video, npz"),
        ({"bound": 0.0}, "bound 0"),
        ({"short_side": 255}, "short side 255"),
        ({"method": "raft"}, "--weights FILE is needed"),
        ({"weights": "raft.pth"}, "--weights FILE is needed"),
    ]:
        with pytest.raises(UserError, match=message):
            FlowSettings(**settings)


def test_unknown_presets_are_named():
    with pytest.raises(UserError, match="'slow': allowed are fast, medium"):
        DisFlow("slow")

"""The page: what is scored, what is refused, and that nothing else is served."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import closing

import av
import numpy as np
import pytest

from transm3e.data.backends import open_source
from transm3e.data.encode import write_video
from transm3e.data.skeleton import Skeleton
from transm3e.data.skeleton.detectors import DETECTORS
from transm3e.errors import UserError
from transm3e.web.__main__ import main
from transm3e.web.jobs import MOST_KEPT, MOST_WAITING, Jobs
from transm3e.web.scoring import Scorer, find_run
from transm3e.web.server import Server

CONTENT = bytes(range(100))


class Fake:
    """Finds a person whose joints wander; nobody where a video is black."""

    layout, options, origin = "blazepose33", (), "fake"

    def __init__(self, options):
        self.root = options.root

    @classmethod
    def build(cls, options):
        return cls(options)

    def inputs(self, clip):
        return [self.root / clip]

    def make(self, clip):
        with closing(open_source(self.root / clip)) as video:
            frames = video.frames(range(video.num_frames))
        points = np.random.default_rng(0).uniform(8, 40, (len(frames), 1, 33, 3)).astype(np.float32)
        points[..., 2] = 1
        points[frames.mean(axis=(1, 2, 3)) < 20] = 0
        return Skeleton(points, self.layout, 48, 64, world=points / 50), (48, 64)


def fake_score(video, folder, report):
    report("scoring", 0.5)
    content = video.read_bytes()
    if content == b"wrong":
        raise UserError(f"{video}: no\nvideo")
    if content == b"bug":
        raise RuntimeError("a bug")
    (folder / "overlay.mp4").write_bytes(CONTENT)
    (folder / "scores.csv").symlink_to("/etc/passwd")
    return {"files": ["overlay.mp4"]}


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(score=fake_score, most_bytes=10 << 20):
        server = Server("127.0.0.1", 0, Jobs(tmp_path, score), most_bytes, "</script>")
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server, method, path, body=None, **headers):
    """Status, headers and body; the path is sent as it is, unlike by urllib."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def score(server, content, name="a.mp4"):
    """The job at its end."""
    status, _, answer = ask(server, "POST", f"/jobs?name={name}", content)
    assert status == 202, answer
    job = json.loads(answer)
    while job["state"] in ("waiting", "running"):
        time.sleep(0.02)
        job = json.loads(ask(server, "GET", f"/jobs/{job['id']}")[2])
    return job


def video(path, light=128, frames=24):
    rng = np.random.default_rng(0)
    write_video(path, rng.integers(light // 2, light + 1, (frames, 48, 64, 3), dtype=np.uint8), 6)
    return path.read_bytes()


def test_a_video_is_scored_with_the_included_model(serve, tmp_path, monkeypatch):
    monkeypatch.setitem(DETECTORS._entries, "fake", Fake)
    monkeypatch.setenv("TRANSM3E_CACHE", str(tmp_path / "cache"))
    run = find_run("", ["DEMO.DETECTOR", "fake", "RUNS_DIR", str(tmp_path / "runs")])
    server = serve(Scorer(run, most_minutes=0.2))
    job = score(server, video(tmp_path / "a.mp4"), "my%20video.mp4")
    assert (job["state"], job["name"], job["error"]) == ("done", "my video.mp4", "")
    result = job["result"]
    assert result["starts"] == [0, 1]
    assert result["ends"] == [3, 4]
    assert np.shape(result["scores"]) == (2, len(result["names"]))
    assert "wrists" not in result["names"]
    got = {name: ask(server, "GET", f"/jobs/{job['id']}/{name}") for name in result["files"]}
    assert [status for status, *_ in got.values()] == [200] * 4
    (tmp_path / "o.mp4").write_bytes(got["overlay.mp4"][2])
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert len(list(container.decode(video=0))) == 24
    content = got["overlay.mp4"][2]
    assert content.index(b"moov") < content.index(b"mdat"), "plays before all of it is there"
    assert b"<svg" in got["body.svg"][2]
    assert got["scores_windows.csv"][2].splitlines()[0] == b"clip,start,end,muscle,score"
    # Nothing is left of the upload, and nothing was written beside the server's folder.
    assert not (tmp_path / job["id"] / "video").exists()
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "runs").exists()

    for content, word in (
        (video(tmp_path / "b.mp4", light=0), "nobody was found in any frame"),
        (video(tmp_path / "c.mp4", frames=90), "minutes long; allowed: 0.2; cut it"),
        (b"This is no video. " * 99, "cannot be read as a video"),
    ):
        job = score(server, content)
        assert job["state"] == "failed"
        assert word in job["error"]
        assert "\n" not in job["error"]
        assert str(tmp_path) not in job["error"]


def test_parts_of_a_video_are_sent_for_seeking(serve):
    server = serve()
    path = f"/jobs/{score(server, b'good')['id']}/overlay.mp4"
    for asked, status, first, last in (
        ("bytes=0-", 206, 0, 99),
        ("bytes=10-19", 206, 10, 19),
        ("bytes=90-500", 206, 90, 99),
        ("bytes=-7", 206, 93, 99),
        ("lines=1-2", 200, 0, 99),
    ):
        got = ask(server, "GET", path, Range=asked)
        assert (got[0], got[2]) == (status, CONTENT[first : last + 1])
        assert got[1]["Content-Range"] == (f"bytes {first}-{last}/100" if status == 206 else None)
    assert ask(server, "GET", path, Range="bytes=100-")[0] == 416
    status, headers, content = ask(server, "HEAD", path)
    assert (status, headers["Content-Length"], headers["Accept-Ranges"], content) == (200, "100", "bytes", b"")


def test_only_the_files_of_a_result_are_served(serve, tmp_path):
    server = serve()
    (tmp_path / "secret.csv").write_text("secret")
    job = score(server, b"good", "..%2F..%2F%00%0Aevil.mp4")
    assert job["name"] == "../../\\x00\\nevil.mp4"
    assert sorted(file.name for file in (tmp_path / job["id"]).iterdir()) == ["overlay.mp4", "scores.csv"]
    base = f"/jobs/{job['id']}"
    for path in (
        *("/../secret.csv", "/jobs/../secret.csv", f"{base}/../secret.csv", f"{base}/..%2fsecret.csv", "//secret.csv"),
        *(f"{base}/scores.csv", f"{base}/video", f"{base}/", "/jobs/", "/jobs/..", "/page.html", "/" + "a" * 9999),
    ):
        status, _, content = ask(server, "GET", path)
        assert (status, b"secret" in content) == (404, False), path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 202),
        ({"Host": "localhost:8000", "Origin": "http://localhost:9000"}, 403),
    ],
)
def test_other_sites_cannot_post(serve, headers, status):
    server = serve()
    assert ask(server, "POST", "/jobs", b"good", **headers)[0] == status
    if "evil" in headers.get("Host", ""):
        assert ask(server, "GET", "/", **headers)[0] == 403


def test_uploads_that_are_refused_leave_nothing(serve, tmp_path):
    server = serve(most_bytes=1 << 20)
    for body, status, word in ((b"", 400, "empty"), (bytes((1 << 20) + 1), 413, "allowed: 1 MB")):
        got = ask(server, "POST", "/jobs", body)
        assert (got[0], word in json.loads(got[2])["error"]) == (status, True)
    with socket.create_connection(server.server_address) as broken:
        broken.sendall(b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nhalf")
        broken.shutdown(socket.SHUT_WR)
        assert b"broke off" in broken.makefile("rb").read()
    assert ask(server, "POST", "/jobs", iter([b"a"]), Transfer_Encoding="chunked")[0] == 411
    assert list(tmp_path.iterdir()) == []


def test_one_job_at_a_time_and_errors_in_one_line(serve, tmp_path):
    running, go, most = [], threading.Event(), []

    def slow(video, folder, report):
        running.append(1)
        most.append(len(running))
        go.wait(10)
        running.pop()
        return fake_score(video, folder, report)

    server = serve(slow)
    answers = [ask(server, "POST", "/jobs", b"good") for _ in range(MOST_WAITING + 2)]
    assert [status for status, *_ in answers] == [202] * (MOST_WAITING + 1) + [503]
    last = json.loads(ask(server, "GET", f"/jobs/{json.loads(answers[-2][2])['id']}")[2])
    assert (last["state"], last["before"]) == ("waiting", MOST_WAITING)
    go.set()
    while json.loads(ask(server, "GET", f"/jobs/{last['id']}")[2])["state"] != "done":
        time.sleep(0.02)
    assert max(most) == 1
    assert score(server, b"wrong")["error"] == "a.mp4: no\\nvideo"
    assert score(server, b"bug")["error"] == "RuntimeError: a bug (the server's log has the rest)"
    for _ in range(MOST_KEPT):
        score(server, b"good")
    assert len(list(tmp_path.iterdir())) <= MOST_KEPT + 1
    assert ask(server, "GET", f"/jobs/{last['id']}")[0] == 404


def test_the_page_is_one_file_without_other_addresses(serve):
    server = serve()
    status, headers, content = ask(server, "GET", "/?a=b")
    assert (status, "default-src 'none'" in headers["Content-Security-Policy"]) == (200, True)
    assert b"http" not in content.replace(b"XMLHttpRequest", b"")
    assert content.count(b"</script>") == 1, "the model's name is escaped"


def test_a_port_in_use_is_one_line(serve, tmp_path, capsys):
    port = serve().server_address[1]
    with pytest.raises(SystemExit) as ended:
        main(["configs/MuscleSynth/random.yaml", "RUNS_DIR", str(tmp_path), "--port", str(port)])
    told = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert told.startswith(f"error: cannot listen on 127.0.0.1 port {port}: ")
    assert "--port" in told
    with pytest.raises(UserError, match="no run folder"):
        find_run(str(tmp_path), [])

"""Paths of other machines: fetched once, whole and as hashed, or refused in one line; local ones stay as they are."""

import gzip
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet50_Weights, Swin_B_Weights, Swin_S_Weights

from transm3e.config import load_cfg
from transm3e.errors import UserError
from transm3e.files import beside, clip_table_file, is_remote, local_path, path_manager, split_member
from transm3e.models.weights import read_checkpoint
from transm3e.runs.plan import plan
from transm3e.tables.read import read_table

CONTENT = b"weights" * 1000
HASH = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Answers path -> (bytes, headers, status); counts what is asked for."""

    def __init__(self):
        self.answers, self.asked, self.wait = {}, [], 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                content, headers, status = outer.answers.get(self.path.partition("?")[0], (b"", {}, 404))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                time.sleep(outer.wait)
                self.wfile.write(content[len(content) // 2 :])

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, path, content=CONTENT, headers=None, status=200):
        self.answers[path] = (content, headers or {}, status)
        return self.url + path


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSM3E_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.server.shutdown()
    running.server.server_close()


def cached(tmp_path):
    return sorted(file.name for file in (tmp_path / "cache").rglob("*") if file.is_file() and file.name != ".lock")


@pytest.mark.parametrize("path", ["a.pth", "/x//a.pth", "C:/a", "https:/a", "a::b", "", "./a#sha256=1"])
def test_local_paths_stay_as_they_are(path):
    assert local_path(path) == Path(path)
    assert not is_remote(path)


def test_a_file_is_fetched_once(server, tmp_path):
    url = server.add("/zoo/a%20b.pth")
    file = local_path(url)
    assert (file.read_bytes(), file.name) == (CONTENT, "a_b.pth")
    assert local_path(url) == file
    assert server.asked == ["/zoo/a%20b.pth"]
    assert file.is_relative_to(tmp_path / "cache")
    assert local_path(url + "?v=2") != file


def test_a_member_stays_at_the_end(server):
    url = server.add("/a.pth")
    assert str(local_path(url + "::model_ema")) == f"{local_path(url)}::model_ema"
    assert split_member("http://[::1]:80/a.pth") == ("http://[::1]:80/a.pth", "")


@pytest.mark.parametrize(
    ("name", "good"),
    [
        (f"a-{HASH[:8]}.pth", True),
        (f"a-{HASH}.pth", True),
        ("a-0badc0de.pth", False),
        ("a-20220818.pth", True),  # a date
        ("swin-base.pth", True),
        (f"a.pth#sha256={HASH.upper()}", True),
        (f"a-0badc0de.pth#sha256={HASH}", True),
        (f"a.pth#sha256={'0' * 64}", False),
    ],
)
def test_hashes_are_checked(server, tmp_path, name, good):
    url = server.add("/" + name.partition("#")[0]) + "".join(name.partition("#")[1:])
    if good:
        assert local_path(url).read_bytes() == CONTENT
    else:
        with pytest.raises(UserError, match=rf"has the SHA-256 {HASH}, not 0.*end the URL in #sha256={HASH}"):
            local_path(url)
        assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "headers", "status", "message"),
    [
        (b"", {}, 404, "the server answers 404 Not Found; fetch it by hand"),
        (CONTENT, {}, 503, "answers 503"),
        (CONTENT, {"Content-Length": "9999"}, 200, "ended after 7000 of 9999 bytes"),
        (b"", {}, 200, "ended after 0 of some bytes"),
        (b"<html>", {"Content-Type": "text/html; charset=utf-8"}, 200, "leads to text/html, not to a file"),
        (gzip.compress(CONTENT, mtime=0), {"Content-Encoding": "gzip"}, 200, "not to a file"),
        (b"", {"Location": "file:///etc/passwd"}, 302, "cannot be fetched"),
        (b"", {"Location": "ftp://127.0.0.1/a"}, 302, "cannot be fetched"),
    ],
)
def test_what_is_no_whole_file_is_refused_and_not_kept(server, tmp_path, content, headers, status, message):
    url = server.add("/a.pth", content, headers, status)
    with pytest.raises(UserError, match=message) as caught:
        local_path(url)
    assert str(caught.value).startswith(url)
    assert cached(tmp_path) == []
    server.add("/a.pth")
    assert local_path(url).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1/a.pth", "Connection refused; fetch it by hand and give the path of the file instead"),
        ("http://[/a.pth", "cannot be fetched"),
        ("https:///a.pth", "cannot be fetched"),
        ("http://127.0.0.1:1/a.pth#main", "allowed is #sha256="),
        ("s3://bucket/a.pth", "no handler is registered for s3://.*TRANSM3E_PATH_HANDLERS"),
    ],
)
def test_an_unreachable_url_is_one_line(server, url, message):
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(url)
    assert "\n" not in str(caught.value)


def test_redirections_are_followed(server):
    server.add("/b.pth")
    url = server.add("/a.pth", b"", {"Location": "/b.pth"}, 302)
    assert local_path(url).read_bytes() == CONTENT


FETCH = "import sys; from transm3e.files import local_path; print(local_path(sys.argv[1]))"


def test_processes_at_once_fetch_once_and_a_killed_one_leaves_nothing_half(server, tmp_path):
    url = server.add("/a.pth")
    server.wait = 60
    killed = subprocess.Popen([sys.executable, "-c", FETCH, url])
    deadline = time.monotonic() + 60
    while not cached(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert cached(tmp_path) != ["a.pth"]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    server.wait = 1.0
    both = [subprocess.Popen([sys.executable, "-c", FETCH, url], stdout=subprocess.PIPE) for _ in range(2)]
    files = {process.communicate()[0] for process in both}
    assert len(files) == 1
    assert len(server.asked) == 2
    assert cached(tmp_path) == ["a.pth"]
    assert local_path(url).read_bytes() == CONTENT


def test_a_file_system_without_locks_still_gets_the_file(server, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert local_path(server.add("/a.pth")).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_names_its_variable(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRANSM3E_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="TRANSM3E_CACHE"):
        local_path(server.add("/a.pth"))


def test_what_a_user_registers_is_used(tmp_path, monkeypatch):
    (tmp_path / "here.pth").write_bytes(b"x")
    (tmp_path / "my_paths.py").write_text(
        "from iopath.common.file_io import PathHandler\n"
        "from transm3e.files import path_manager\n"
        "class Mine(PathHandler):\n"
        "    def _get_supported_prefixes(self): return ['mine://']\n"
        "    def _get_local_path(self, path, **kwargs):\n"
        "        if 'bad' in path: raise RuntimeError('no\\nkey')\n"
        f"        return {str(tmp_path)!r} + '/' + path[7:]\n"
        "path_manager().register_handler(Mine())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TRANSM3E_PATH_HANDLERS", "my_paths")
    path_manager.cache_clear()
    assert local_path("mine://here.pth") == tmp_path / "here.pth"
    with pytest.raises(UserError, match=r"mine://bad cannot be fetched \(RuntimeError: no key\)"):
        local_path("mine://bad")
    monkeypatch.setenv("TRANSM3E_PATH_HANDLERS", "no_such_module")
    with pytest.raises(UserError, match="TRANSM3E_PATH_HANDLERS names no_such_module, which does not import"):
        local_path("mine://here.pth")


def test_local_paths_need_no_path_manager():
    code = "import sys, transm3e.files as f; f.local_path('a'); print([m for m in ('iopath', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        ("https://h/a/b.yaml", "../base/c.yaml", "https://h/base/c.yaml"),
        ("https://h/a/b.yaml?token=1", "c.yaml", "https://h/a/c.yaml"),
        ("https://h/b.yaml", "/etc/passwd", "https://h/etc/passwd"),
        ("a/b.yaml", "https://h/c.yaml", "https://h/c.yaml"),
        ("a/b.yaml", "../c.yaml", "a/../c.yaml"),
    ],
)
def test_a_file_names_others_beside_it(file, name, expected):
    assert beside(file, name) == expected


def test_configs_and_tables_come_from_urls(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server.add("/configs/_base_/a.yaml", b"RNG_SEED: 5\n", {"Content-Type": "text/plain"})
    url = server.add("/configs/leaf.yaml", b"_BASE_: _base_/a.yaml\nDATA: {NUM_FRAMES: 8}\n")
    cfg = load_cfg(url)
    assert (cfg.RNG_SEED, cfg.DATA.NUM_FRAMES) == (5, 8)
    (tmp_path / "local.yaml").write_text(f"_BASE_: {url}\n")
    assert load_cfg("local.yaml").RNG_SEED == 5
    table = server.add("/t.yaml", b"title: T\nconfig: c\nrows: [{label: a}]\n")
    assert read_table(table).name == "t"
    clips = server.add("/data/clips.csv", b"path,split\n")
    assert clip_table_file(server.url + "/data/").read_bytes() == b"path,split\n"
    assert clip_table_file(clips).name == "clips.csv"


def test_a_circle_of_urls_is_seen(server):
    url = server.add("/a.yaml", b"_BASE_: a.yaml\n")
    with pytest.raises(UserError, match="is circular"):
        load_cfg(url)


def test_a_run_is_of_what_the_url_holds(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("MODEL: {MODEL_NAME: MViT}\n")
    torch.save({"model_state": {"a": torch.ones(1)}}, "w.pth")
    url = server.add("/w.pth", Path("w.pth").read_bytes())

    def run(start):
        return plan(["a.yaml"], ["TRAIN.CHECKPOINT_FILE_PATH", start])[0]

    assert run(url).id == run("w.pth").id != run("").id
    assert run(url + "::ema").id == run("w.pth::ema").id != run(url).id
    named = plan([server.add("/named.yaml", b"MODEL: {MODEL_NAME: MViT}\n")])[0]
    assert named.name == "named"
    assert os.fspath(named.folder).startswith("runs/named-")
    assert torch.equal(read_checkpoint(url)["model_state"]["a"], torch.ones(1))


def test_every_file_that_a_config_asks_for_is_in_the_readme(repo):
    text = (repo / "configs" / "README.md").read_text(encoding="utf-8")
    asked = {
        setting[2]
        for config in (repo / "configs").rglob("*.yaml")
        if not config.is_relative_to(repo / "configs" / "tables")
        for setting in re.findall(r"(?m)^( *)(CHECKPOINT_FILE_PATH): (\S+)$", config.read_text(encoding="utf-8"))
    }
    assert len(asked) == 5
    rows = dict(re.findall(r"(?m)^\| `(weights/\S+)` \|.*\| (https://\S+) \|", text))
    assert rows.keys() == asked
    of_torchvision = {
        "weights/resnet50_in1k.pth": ResNet50_Weights.IMAGENET1K_V1,
        "weights/swin_s_in1k.pth": Swin_S_Weights.IMAGENET1K_V1,
        "weights/swin_b_in1k.pth": Swin_B_Weights.IMAGENET1K_V1,
    }
    for name, weights in of_torchvision.items():
        assert rows[name] == weights.url
        assert f"{weights.url} | {weights.meta['_file_size']:.1f} MiB" in text

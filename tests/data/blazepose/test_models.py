"""The networks' files: from a wheel into the cache, and one line for what can go wrong."""

import hashlib
import runpy
import sys
import zipfile
from subprocess import CompletedProcess

import pytest

from transm3e.data.blazepose import models
from transm3e.data.blazepose.models import get_models, model_folder, read_model
from transm3e.data.blazepose.networks import check_installed
from transm3e.errors import UserError


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel whose two files are the expected ones, and an empty cache."""
    contents = [b"detection", b"landmarks"]
    small = [
        model._replace(sha256=hashlib.sha256(content).hexdigest())
        for model, content in zip(models.MODELS, contents, strict=True)
    ]
    monkeypatch.setattr(models, "MODELS", tuple(small))
    monkeypatch.setenv("TRANSM3E_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "mediapipe-0.10.21-cp312-cp312-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for model, content in zip(small, contents, strict=True):
            archive.writestr(model.member, content)
        archive.writestr("mediapipe/__init__.py", "raise ImportError")
    return file


def fails(call, *words):
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    for word in words:
        assert word in str(raised.value)


def test_only_the_two_network_files_of_the_wheel_are_cached(wheel, tmp_path):
    assert get_models(wheel) == tmp_path / "cache" / "pose"
    assert sorted(file.name for file in model_folder().iterdir()) == sorted(model.name for model in models.MODELS)
    assert read_model(models.MODELS[1]) == b"landmarks"


def test_the_wheel_is_downloaded_without_dependencies(wheel, monkeypatch):
    calls = []

    def download(call, **options):
        calls.append(call)
        (folder := call[call.index("--dest") + 1]) and wheel.rename(f"{folder}/{wheel.name}")
        return CompletedProcess(call, 0, "", "")

    monkeypatch.setattr(models.subprocess, "run", download)
    get_models()
    get_models()  # existing files are kept
    assert len(calls) == 1
    assert {"download", "--no-deps", "--only-binary=:all:", "mediapipe==0.10.21"} <= set(calls[0])


def test_without_a_connection_one_line_says_what_to_do(wheel, monkeypatch, repo, capsys):
    failed = CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")
    monkeypatch.setattr(models.subprocess, "run", lambda *_, **__: failed)
    main = runpy.run_path(str(repo / "datasets" / "get_pose_models.py"))["main"]
    with pytest.raises(SystemExit) as ended:
        main([])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("\n") == 1
    for word in ("No matching distribution", "pip download --no-deps", "get_pose_models.py --wheel FILE"):
        assert word in said
    assert main(["--wheel", str(wheel)]) == 0


def test_another_wheel_and_damaged_files_are_refused(wheel, tmp_path):
    fails(lambda: read_model(models.MODELS[0]), "No such file", "datasets/get_pose_models.py")
    (tmp_path / "text.whl").write_text("no zip")
    fails(lambda: get_models(tmp_path / "text.whl"), "not a wheel with", "mediapipe==0.10.21")
    fails(lambda: get_models(tmp_path / "absent.whl"), "cannot be read")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr(models.MODELS[0].member, "another release")
    fails(lambda: get_models(tmp_path / "other.whl"), "differs from that of mediapipe==0.10.21")
    assert not model_folder().exists()
    get_models(wheel)
    (model_folder() / models.MODELS[0].name).write_bytes(b"cut")
    fails(lambda: read_model(models.MODELS[0]), "damaged", "datasets/get_pose_models.py")


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    fails(check_installed, "ai-edge-litert", "pip install -e '.[pose]'")

"""Where projects keep tensors in a file, and safetensors."""

import pickle
import random
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from transm3e.errors import UserError
from transm3e.models.weights import read_checkpoint, write_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.int64)}


def same(state):
    return state.keys() == STATE.keys() and all(torch.equal(state[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model_state": STATE, "epoch": 4},
        {"state_dict": STATE, "epoch": 4},
        {"model": STATE, "epoch": 4},
        # What else stands at the top is not mistaken for the weights.
        {"model_state": STATE, "model": "name", "state_dict": {}, "epoch": 4},
    ],
)
@pytest.mark.parametrize("suffix", [".pyth", ".pth", ".pt"])
def test_tensors_come_as_model_state(tmp_path, content, suffix):
    file = tmp_path / f"a{suffix}"
    torch.save(content, file)
    read = read_checkpoint(file)
    assert same(read["model_state"])
    assert read.get("epoch") == content.get("epoch")
    assert "a.weight" not in read


@pytest.mark.parametrize("content", [{"state_dict": {"w": 5}}, {"model": [STATE]}, {**STATE, "n": 5}, {1: STATE["b"]}])
def test_a_dict_with_anything_else_is_no_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / "a.pyth")
    with pytest.raises(UserError, match="nor a dict of nothing but tensors"):
        read_checkpoint(tmp_path / "a.pyth")


@pytest.mark.parametrize("suffix", [".pyth", ".pth", ".pt", ".safetensors"])
def test_what_is_written_is_read(tmp_path, suffix):
    file = tmp_path / f"a{suffix}"
    # A view that is not contiguous must not matter.
    write_weights(file, STATE | {"a.weight": STATE["a.weight"].T.contiguous().T}, "A: 1\n")
    read = read_checkpoint(file)
    assert same(read["model_state"])
    assert read["cfg"] == "A: 1\n"


def test_safetensors_of_others_are_read(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors", {"format": "pt"})
    assert set(read_checkpoint(tmp_path / "a.safetensors")) == {"model_state"}
    assert same(read_checkpoint(tmp_path / "a.safetensors")["model_state"])


def test_an_unknown_suffix_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"suffix '\.bin'; use \.pyth, \.pth, \.pt, \.safetensors"):
        write_weights(tmp_path / "a.bin", STATE, "")


def test_a_damaged_safetensors_file_is_read_or_refused_but_never_a_crash(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file(STATE, file)
    good, rng, refusals = file.read_bytes(), random.Random(0), []
    for _ in range(150):
        bad = bytearray(good[: rng.randrange(len(good))] if rng.random() < 0.3 else good)
        for place in rng.choices(range(len(bad)), k=3) if bad else ():
            bad[place] = rng.randrange(256)
        file.write_bytes(bytes(bad))
        try:
            read_checkpoint(file)
        except UserError as error:
            refusals.append(str(error))
    assert len(refusals) > 50
    assert not any("\n" in message for message in refusals)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    save_file(STATE, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UserError, match=r"a\.safetensors needs the package safetensors; pip install"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_caffe2s_pickles_are_read_as_data(tmp_path):
    file = tmp_path / "a.pkl"
    blobs = {"conv1_w": np.arange(6, dtype=">f4").reshape(2, 3), "model_iter": np.array([7]), "lr": 0.1}
    file.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "A: 1"}, 2))
    state = read_checkpoint(file)["model_state"]
    assert state.keys() == {"conv1_w", "model_iter"}
    assert torch.equal(state["conv1_w"], STATE["a.weight"])


@pytest.mark.parametrize("zipped", [True, False])
def test_torchs_own_files_may_be_called_pkl(tmp_path, zipped):
    torch.save({"model_state": STATE}, tmp_path / "a.pkl", _use_new_zipfile_serialization=zipped)
    assert same(read_checkpoint(tmp_path / "a.pkl")["model_state"])


def test_a_compressed_file_is_named(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x1f\x8b123")
    with pytest.raises(UserError, match="compressed with gzip; unpack it"):
        read_checkpoint(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, 'holds no "blobs"'),
        ([], 'holds no "blobs"'),
        ({"blobs": {1: np.ones(1)}}, 'no "blobs"'),
        (pytest.raises, "refused, it holds"),
        ({"blobs": {}}, "no arrays of numbers"),
    ],
)
def test_other_pickles_are_refused(tmp_path, content, message):
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message):
        read_checkpoint(file)

"""Weights in: untrusted files are refused in one line, and nothing is loaded unless everything fits."""

import copy
import pickle
import random

import pytest
import torch
from torch import nn

from transm3e.errors import UserError
from transm3e.models.weights import load_weights, read_checkpoint


class Evil:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def small():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.pyth"


def refused(file):
    with pytest.raises(UserError) as caught:
        read_checkpoint(file)
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    return message


def test_tensors_and_plain_values_are_read(file):
    state = {"model_state": small().state_dict(), "epoch": 3, "cfg": "A: 1", "progress": {"history": [{"loss": 0.5}]}}
    torch.save(state, file)
    read = read_checkpoint(file)
    assert {key: read[key] for key in ("epoch", "cfg", "progress")} == {
        key: state[key] for key in ("epoch", "cfg", "progress")
    }
    assert all(torch.equal(read["model_state"][name], tensor) for name, tensor in state["model_state"].items())
    assert read_checkpoint(str(file))["epoch"] == 3


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert "no checkpoint at" in refused(tmp_path / "gone.pyth")
    assert "no checkpoint at" in refused(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_an_object_in_a_checkpoint_is_not_executed(file, zipped):
    torch.save({"model_state": {}, "x": Evil()}, file, _use_new_zipfile_serialization=zipped)
    assert "objects other than tensors" in refused(file)
    file.write_bytes(pickle.dumps({"model_state": Evil()}, protocol=2))
    assert "not written by torch.save" in refused(file)


@pytest.mark.parametrize(
    "state", [5, [1], {}, {"epoch": 1}, {"model_state": [1]}, {"model_state": {"w": 5}}, {"model_state": None}]
)
def test_what_is_no_checkpoint_is_refused(file, state):
    torch.save(state, file)
    assert 'no tensors in "model_state"' in refused(file)


@pytest.mark.parametrize("content", [b"", b"text", b"\x80", b"\x80\x02.", b"PK\x03\x04", bytes(100), b"GIF89a" * 9])
def test_files_of_other_kinds_are_refused(file, content):
    file.write_bytes(content)
    refused(file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_read_or_refused_but_never_a_crash(file, zipped):
    torch.save({"model_state": small().state_dict(), "epoch": 3}, file, _use_new_zipfile_serialization=zipped)
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


def test_everything_is_loaded_and_counted():
    source, target = small(), small()
    report = load_weights(target, source.state_dict())
    assert (len(report.loaded), report.missing, report.unused) == (7, (), ())
    assert str(report) == "7 tensors loaded, 0 missing, 0 unused"
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_a_path_loads_as_its_state_does(file):
    source, target = small(), small()
    torch.save({"model_state": source.state_dict()}, file)
    load_weights(target, file)
    assert torch.equal(target[0].weight, source[0].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.weight"), r"1 missing \(0\.weight\), 0 unused, 0 of another shape"),
        (lambda s: s.update(extra=torch.ones(1)), r"0 missing, 1 unused \(extra\), 0 of"),
        (lambda s: s.update({"0.weight": torch.ones(3, 3)}), r"1 of another shape \(0\.weight\)"),
        (lambda s: s.clear(), r"7 missing \(0\.weight, 0\.bias, 1\.weight, \.\.\.\)"),
    ],
)
def test_what_does_not_fit_changes_nothing(change, message):
    target, state = small(), small().state_dict()
    change(state)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(UserError, match=f"the state dict belongs to another model than Sequential .*{message}"):
        load_weights(target, state)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "0.weight",
            torch.ones(3, 2, dtype=torch.complex64),
            r"1 of another kind \(0\.weight: complex64 for float32\)",
        ),
        ("0.weight", torch.ones(3, 2, dtype=torch.int64), r"1 of another kind \(0\.weight: int64 for float32\)"),
        ("0.weight", torch.ones(3, 2).to_sparse(), r"1 of another kind \(0\.weight: float32 sparse_coo for float32\)"),
        (
            "0.weight",
            torch.ones(3, 2, device="meta"),
            r"1 of another kind \(0\.weight: float32 without values for float32\)",
        ),
        (
            "1.num_batches_tracked",
            torch.tensor(1.0),
            r"1 of another kind \(1\.num_batches_tracked: float32 for int64\)",
        ),
        ("0.bias", torch.tensor([1, torch.nan, 1]), r"1 not finite \(0\.bias\)"),
        ("1.running_var", torch.tensor([1, torch.inf, 1]), r"1 not finite \(1\.running_var\)"),
        ("0.bias", torch.full((3,), 1e300, dtype=torch.float64), r"1 not finite \(0\.bias\)"),
    ],
)
def test_values_that_no_model_has_are_refused_by_name(name, tensor, message):
    target = small()
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(UserError, match=f"^the state dict: tensors that the model cannot take: {message}") as caught:
        load_weights(target, {**small().state_dict(), name: tensor})
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_integers_go_into_integers_and_what_is_not_loaded_may_be_anything():
    target = small()
    state = {**small().state_dict(), "1.num_batches_tracked": torch.tensor(5, dtype=torch.int32)}
    load_weights(target, {**state, "0.bias": torch.full((4,), torch.nan)}, allow_missing=("0.bias",))
    assert target[1].num_batches_tracked == 5
    assert target[0].bias.isfinite().all()


def test_a_file_or_a_given_name_stands_in_the_message(file):
    torch.save({"model_state": {"a": torch.ones(1)}}, file)
    with pytest.raises(UserError, match=r"a\.pyth belongs to another model"):
        load_weights(small(), file)
    with pytest.raises(UserError, match=r"^the teacher belongs to another model"):
        load_weights(small(), {}, name="the teacher")


def test_what_may_be_missing_keeps_its_values():
    source, target = small(), small()
    state = {name: tensor for name, tensor in source.state_dict().items() if name.startswith("0.")}
    kept = target[1].weight.detach().clone()
    report = load_weights(target, state, allow_missing=("1.",))
    assert report.loaded == ("0.weight", "0.bias")
    assert len(report.missing) == 5
    assert torch.equal(target[0].weight, source[0].weight)
    assert torch.equal(target[1].weight, kept)
    with pytest.raises(UserError, match="5 missing"):
        load_weights(target, state, allow_missing=("2.",))

"""Objects besides weights: plain values of well-known classes are read, no code runs, other classes are refused by name."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import re
import shlex
import subprocess
import sys
import types
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode

from transm3e.errors import UserError
from transm3e.foreign.stand_ins import stand_ins
from transm3e.foreign.torch_file import load_torch
from transm3e.models.weights import read_checkpoint

STATE = {"a": torch.ones(2)}
WHERE_TESTS_ARE = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.pth"


def lr_schedulers():
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), 0.1)
    of = torch.optim.lr_scheduler
    steps = of.SequentialLR(optimizer, [of.LinearLR(optimizer), of.MultiStepLR(optimizer, [2, 3])], [1])
    return [steps.state_dict(), of.OneCycleLR(optimizer, 0.1, total_steps=9).state_dict()]


PLAIN = {
    "args": (argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/a/b")), {"lr": 0.1, "out": "/a/b"}),
    "simple": (types.SimpleNamespace(a=[1]), {"a": [1]}),
    "epoch": (np.int64(3), 3),
    "metric": (np.float32(0.5), 0.5),
    "flag": (np.bool_(True), True),
    "array": (np.arange(3.0), [0.0, 1.0, 2.0]),
    "cfg": (CfgNode({"A": {"B": [1]}}), {"A": {"B": [1]}}),
    "counts": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "last": (collections.deque([1, 2], 3), [1, 2]),
    "ordered": (collections.OrderedDict(a=1), {"a": 1}),
    "when": (datetime.datetime(2024, 1, 2, 3), datetime.datetime(2024, 1, 2, 3)),
    "bytes": (b"\x80", b"\x80"),
    "path": (pathlib.Path("a") / "b", "a/b"),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_values_of_well_known_classes_are_data(file, zipped):
    random = {"numpy": np.random.get_state(), "generator": np.random.RandomState(1), "python": (3, (1, 2), None)}  # noqa: NPY002
    kinds = {"dtype": np.float32, "type": int, "torch": torch.float16, "dt": np.dtype("f4"), "none": frozenset([1])}
    content = {name: given for name, (given, _) in PLAIN.items()}
    torch.save(
        {"model": STATE, **content, "schedulers": lr_schedulers(), "random": random, "kinds": kinds},
        file,
        _use_new_zipfile_serialization=zipped,
    )
    before = set(torch.serialization.get_safe_globals())
    read = read_checkpoint(file)
    assert torch.equal(read["model_state"]["a"], STATE["a"])
    for name, (_, expected) in PLAIN.items():
        found = read[name].tolist() if isinstance(read[name], np.ndarray) else read[name]
        assert found == expected, name
    assert set(torch.serialization.get_safe_globals()) == before


class Own:
    """A program's class; making one is seen."""

    made = 0

    def __new__(cls, *_):
        Own.made += 1
        return super().__new__(cls)


class Calls:
    def __init__(self, function, *args):
        self.what = (function, args)

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Own(), "tests.security.test_stand_ins.Own"),
        (argparse.Namespace(train=shlex.split), "shlex.split"),
        ({Own: 1}, "Own"),
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(exec, "1"), "builtins.exec"),
        (Calls(subprocess.check_output, "ls"), "subprocess.check_output"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_other_classes_are_named_and_not_run(file, content, named, zipped):
    torch.save({"state_dict": STATE, "x": content}, file, _use_new_zipfile_serialization=zipped)
    made = Own.made
    with pytest.raises(UserError, match=re.escape(named)) as caught:
        read_checkpoint(file)
    assert Own.made == made
    assert "\n" not in str(caught.value)


def test_the_remedy_in_the_message_works(tmp_path):
    state, module = tmp_path / "state.pth", tmp_path / "module.pth"
    torch.save({"epoch": 1, "state_dict": STATE, "hook": Own()}, state)
    torch.save(torch.nn.Linear(2, 2), module)
    lines = []
    for file in (state, module):
        with pytest.raises(UserError) as caught:
            read_checkpoint(file)
        lines.append(re.search(r'python -c "(.*)"$', str(caught.value))[1])
    subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, check=True, env=WHERE_TESTS_ARE)
    assert torch.equal(read_checkpoint(tmp_path / "state_weights.pth")["model_state"]["a"], STATE["a"])
    assert set(read_checkpoint(tmp_path / "module_weights.pth")["model_state"]) == {"weight", "bias"}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_another_protocol_is_read_or_named(file, protocol):
    torch.save({"state_dict": STATE, "args": argparse.Namespace(a=1)}, file, pickle_protocol=protocol)
    if protocol == 3:
        assert read_checkpoint(file)["args"] == {"a": 1}
        return
    with pytest.raises(UserError, match=f"pickle protocol {protocol}.*torch.load"):
        read_checkpoint(file)


# Opcodes: c = name a class, ( t = tuple, R = call, \x81 = make, b = set the state, . = end.
HOSTILE = [
    b"cargparse\nNamespace\n(X\x04\x00\x00\x00exectR.",
    b"cbuiltins\ngetattr\n(cargparse\nNamespace\nX\x0b\x00\x00\x00__globals__tR.",
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00O8tRX\x01\x00\x00\x00atR.",
    b"cnumpy.core.multiarray\nscalar\n}b.",
    b"cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01(J\xff\xff\xff\x7ftcnumpy\ndtype\n(X\x02\x00\x00\x00f8tRNX\x01\x00\x00\x00atb.",
    b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8tR(K\x03X\x01\x00\x00\x00<}}}tb.",
    b"cbuiltins\nbytes\n(J\xff\xff\xff\x7ftR.",
    b"cdatetime\ndatetime\n(X\x01\x00\x00\x00atR.",
    b"cdatetime\ntimedelta\n(J\xff\xff\xff\x7ftR.",
    b"cpathlib\nPosixPath\n(K\x01K\x02tR.",
    b"ccollections\ndeque\n(J\xff\xff\xff\x7ftR.",
    b"cargparse\nNamespace\n)\x81}X\x09\x00\x00\x00__class__K\x01sb.",
    b"cos\nsystem\n(X\x02\x00\x00\x00lstR.",
    b"cbuiltins\n__import__\n(X\x02\x00\x00\x00ostR.",
    b"cnumpy.random\n../../x\n)\x81.",
    b"cnumpy.random\n\xff\n)\x81.",
]


@pytest.mark.parametrize("code", HOSTILE)
def test_objects_built_from_the_names_are_harmless(file, code):
    """Each gives a plain value or an error; stand-ins have neither the real class nor its attributes."""
    torch.save(STATE, file)
    with zipfile.ZipFile(file) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, b"\x80\x02" + code if name.endswith("data.pkl") else content)
    harmless = (ValueError, TypeError, AttributeError, OverflowError, pickle.UnpicklingError)
    read = None
    with suppress(*harmless):
        read = load_torch(file)
    size = read.nbytes if isinstance(read, np.ndarray) else len(read) if hasattr(read, "__len__") else 0
    assert size < 100
    assert "argparse" not in repr(type(read).__mro__[1:])
    assert argparse.Namespace().__class__ is argparse.Namespace


def test_stand_ins_have_only_the_names_of_the_classes():
    names = ["argparse.Namespace", "pathlib._local.PosixPath", "numpy._core.multiarray.scalar", "omegaconf.a.B", "x.Y"]
    found, strange = stand_ins([*names, "torch.Size"])
    assert strange == ["x.Y"]
    assert [f"{each.__module__}.{each.__qualname__}" for each in found] == names[:4]
    assert not any(issubclass(each, (argparse.Namespace, pathlib.PurePath)) for each in found)

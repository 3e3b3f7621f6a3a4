"""Pickles of data come back as they were; everything else is refused before any of it runs."""

import io
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.errors import UserError
from transm3e.unpickle import read_pickle

DATA = {
    "paths": ["a/b.mp4", "ü.avi"],
    "labels": [[0, 19], (1,), {2}, frozenset("x")],
    "numbers": [1, 2.5, True, None, 1j, b"xy", b"", 10**30],
    "arrays": [
        np.arange(6.0).reshape(2, 3),
        np.ones((2, 2), np.float16, order="F"),
        np.arange(3, dtype=">i4"),
        np.zeros((0, 3)),
        np.array(["ab", "c"]),
        np.array(True),
    ],
    "scalars": [np.float32(2.5), np.int64(3), np.str_("hey")],
}


def pickled(tmp_path, data, protocol=pickle.HIGHEST_PROTOCOL):
    file = tmp_path / "file.pkl"
    file.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol))
    return file


@pytest.mark.parametrize("protocol", range(6))
def test_data_of_every_protocol_comes_back(tmp_path, protocol):
    read = read_pickle(pickled(tmp_path, DATA, protocol))
    assert {name: read[name] for name in ("paths", "labels", "numbers", "scalars")} == {
        name: DATA[name] for name in ("paths", "labels", "numbers", "scalars")
    }
    for array, given_ in zip(read["arrays"], DATA["arrays"], strict=True):
        np.testing.assert_array_equal(array, given_)
        assert array.dtype.newbyteorder("=") == given_.dtype.newbyteorder("=")


def test_the_names_of_numpy_1_and_2_are_both_known(tmp_path):
    stream = pickle.dumps(np.arange(3.0), 2)
    other = stream.replace(b"numpy._core.", b"numpy.core.")
    assert other != stream
    for each in (stream, other):
        np.testing.assert_array_equal(read_pickle(pickled(tmp_path, each)), [0, 1, 2])


class Python2(pickle._Pickler):
    """Bytes are text there."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012 (pickle's own)

    def save_bytes(self, content):
        self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) + content)

    dispatch[bytes] = save_bytes


def test_arrays_that_python_2_wrote_come_back(tmp_path):
    arrays = {"a": np.array([[1.5, -2.0], [200.0, 255.0]], np.float32), "b": np.arange(200, 240, dtype=np.uint8)}
    stream = io.BytesIO()
    Python2(stream, 2).dump(arrays)
    for name, array in read_pickle(pickled(tmp_path, stream.getvalue())).items():
        np.testing.assert_array_equal(array, arrays[name])


class Hostile:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, protocol):
    proof = tmp_path / "ran"
    file = pickled(tmp_path, {"annotations": [Hostile(os.system, f"touch {proof}")]}, protocol)
    with pytest.raises(UserError, match=r"file\.pkl: refused, it holds \w+\.system; allowed are .*") as caught:
        read_pickle(file)
    assert "\n" not in str(caught.value)
    assert not proof.exists()


@pytest.mark.parametrize(
    "data",
    [
        Hostile(eval, "1"),
        Hostile(getattr, [], "append"),
        np.array([None, 1]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
        np.datetime64("2020"),
        Hostile(bytes, 10**12),
        b"\x80\x05P1\n.",  # a persistent id
        b"cnumpy\ndtype\n(N}Vx\nI1\nstb.",  # sets an attribute of a function on the list
        # An array that claims 10^6 numbers and brings eight bytes.
        pickle.dumps(np.arange(1.0), 3).replace(b"K\x01\x85", b"J\x40\x42\x0f\x00\x85"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path, data):
    with pytest.raises(UserError, match=r"refused, it holds|not a pickle"):
        read_pickle(pickled(tmp_path, data, 3))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.pkl: cannot be read"):
        read_pickle(tmp_path / "nothing.pkl")


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_damaged_pickle_is_an_error_of_one_line_or_data(tmp_path_factory, data):
    stream = bytearray(pickle.dumps(DATA, data.draw(st.sampled_from([0, 2, 4, 5]))))
    for place in data.draw(st.lists(st.integers(0, len(stream) - 1), max_size=3)):
        stream[place] = data.draw(st.integers(0, 255))
    file = pickled(tmp_path_factory.getbasetemp(), bytes(stream[: data.draw(st.integers(0, len(stream)))]))
    message = ""
    try:
        read_pickle(file)
    except UserError as error:
        message = str(error)
    assert "\n" not in message

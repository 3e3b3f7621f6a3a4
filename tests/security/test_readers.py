"""Untrusted files: whatever they contain, reading ends in time with a valid object or a clear error of one line.

`TRANSM3E_FUZZ=1000 python -m pytest tests/security` tries so many random files per reader and type of damage, different
ones in every run.
"""

import itertools
import json
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security.damage import spoilt_bytes, spoilt_documents
from tests.security.limits import EXAMPLES, LONG, LONGEST_MESSAGE, bounded
from tests.security.readers import READERS

COUNT = itertools.count()
FUZZ = settings(
    max_examples=EXAMPLES,
    derandomize=not LONG,
    database=None,
    deadline=None,
    print_blob=LONG,
    suppress_health_check=list(HealthCheck),
)
every_reader = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
DOCUMENTS = [reader for reader in READERS if reader.document is not None]


def read(reader, content, folder):
    """Read a file of these bytes; returns the error's words, "" for none."""
    place = folder / str(next(COUNT))
    place.mkdir()
    file = place / (reader.suffix if not reader.suffix.startswith(".") else f"file{reader.suffix}")
    file.write_bytes(content)
    try:
        with bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(file)
    except reader.errors as error:
        message = str(error)
        assert message.isprintable()
        assert 10 < len(message) <= LONGEST_MESSAGE
        return message
    finally:
        file.unlink(missing_ok=True)
    return ""


@every_reader
def test_a_good_file_is_read(reader, tmp_path):
    message = read(reader, reader.good(), tmp_path)
    assert message == "" or reader.name in ("authors' lists",), message


@every_reader
def test_random_bytes(reader, tmp_path):
    start = reader.good()[:8]

    @FUZZ
    @given(st.binary(max_size=200), st.booleans())
    def look(content, begins_well):
        read(reader, start * begins_well + content, tmp_path)

    look()


@every_reader
def test_a_good_file_with_damage(reader, tmp_path):
    good = reader.good()

    @FUZZ
    @given(spoilt_bytes(good))
    def look(content):
        read(reader, content, tmp_path)

    look()


@pytest.mark.parametrize("reader", DOCUMENTS, ids=lambda reader: reader.name)
def test_a_valid_file_of_wrong_values(reader, tmp_path):
    @FUZZ
    @given(st.data())
    def look(data):
        document = data.draw(spoilt_documents(reader.document, reader.wrong))
        try:
            content = reader.dump(document)
        except (
            ValueError,
            TypeError,
            RecursionError,
            AttributeError,
            OverflowError,
            RuntimeError,
            json.JSONDecodeError,
        ):
            return  # no such file can be written
        read(reader, content, tmp_path)

    look()

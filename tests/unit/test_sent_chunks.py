import json
import os

import pytest

from qpu_executor.errors import StoreError
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.sent_chunks import SentChunk, SentChunks

ONE = ChunkId(1, 0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "q.jobs.json"


def opened(path):
    found = SentChunks(path)
    found.read()
    return found


def test_what_was_written_down_is_there_for_the_next_manager(path):
    first = opened(path)
    first.put(ONE, SentChunk(5.0, "mark", 20))
    first.put(ONE, SentChunk(5.0, "mark", 20, "handle"))
    second = opened(path)
    assert second.get(ONE) == SentChunk(5.0, "mark", 20, "handle")
    assert second.namespace == first.namespace
    second.drop(ONE)
    assert opened(path).get(ONE) is None


def test_each_file_has_a_namespace_of_its_own(tmp_path):
    names = {opened(tmp_path / str(i)).namespace for i in range(20)}
    assert len(names) == 20


def test_only_so_many_are_kept_and_the_newest_are(path):
    chunks = opened(path)
    for i in range(130):
        chunks.put(ChunkId(i, 0), SentChunk(0.0, "", 1, str(i)))
    assert chunks.get(ChunkId(0, 0)) is None
    assert opened(path).get(ChunkId(129, 0)) == SentChunk(0.0, "", 1, "129")
    assert len(json.loads(path.read_text("utf-8"))["chunks"]) == 128


def test_a_full_disk_changes_nothing(path, monkeypatch):
    chunks = opened(path)
    chunks.put(ONE, SentChunk(1.0, "a", 1))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        chunks.put(ONE, SentChunk(1.0, "a", 1, "handle"))
    with pytest.raises(OSError, match="No space"):
        chunks.drop(ONE)
    assert chunks.get(ONE) == SentChunk(1.0, "a", 1)
    monkeypatch.undo()
    assert opened(path).get(ONE) == SentChunk(1.0, "a", 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 9}', '{"format": 1}'])
def test_a_damaged_or_foreign_file_is_never_taken_for_an_empty_one(path, text):
    path.write_text(text, "utf-8")
    with pytest.raises(StoreError, match="jobs that were sent") as caught:
        opened(path)
    assert "remove the file" in str(caught.value)
    assert path.read_text("utf-8") == text

"""Kept activations: found by row, gathered and padded as they were, whole files or none."""

import os

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.training.table import KEY, Entry


def digest(i):
    return bytes([i]) * 32


@pytest.fixture
def entry(tmp_path):
    return Entry(tmp_path / "features", {"backbone": "toy"})


def add(entry, numbers, values, ragged=False, limit=1e9):
    entry.add([digest(i) for i in numbers], values, ragged=ragged, max_bytes=limit)


@pytest.mark.parametrize("memory", [0, 1e9])
def test_rows_of_several_files_in_any_order(entry, memory):
    values = torch.arange(12.0).reshape(6, 2)
    add(entry, [0, 1, 2], list(values[:3]))
    add(entry, [3, 4, 5], list(values[3:]))
    order = [4, 0, 5, 2, 2, 1]
    table = entry.table([digest(i) for i in order], memory)
    assert (table.whole is None) == (memory == 0)
    positions = torch.tensor([5, 0, 3])
    assert torch.equal(table.rows(positions, None), values[order][positions])


def test_unequal_lengths_are_padded_with_zeros(entry):
    rows = [torch.full((n, 2), float(n)) for n in (3, 1, 2)]
    add(entry, [0, 1, 2], rows, ragged=True)
    batch = entry.table([digest(i) for i in (2, 0, 1)], 1e9).rows(torch.tensor([0, 2]), 4)
    assert batch.shape == (2, 4, 2)
    assert torch.equal(batch[0, :2], rows[2]) and torch.equal(batch[1, :1], rows[1])
    assert not batch[0, 2:].any() and not batch[1, 1:].any()


def test_another_process_sees_files_and_their_key(entry, tmp_path):
    add(entry, [0, 1], list(torch.eye(2)))
    other = Entry(tmp_path / "features", {"backbone": "toy"})
    assert other.missing([digest(0), digest(1), digest(7)]) == [0, 1, 2]
    other.refresh()
    assert other.missing([digest(0), digest(1), digest(7)]) == [2]
    assert '"backbone": "toy"' in (entry.folder / KEY).read_text()
    assert Entry(tmp_path / "features", {"backbone": "other"}).folder != entry.folder


@pytest.mark.parametrize("at", [0, 8, 60, -1])
def test_one_flipped_bit_is_enough(entry, tmp_path, at):
    add(entry, [0, 1], list(torch.eye(2)))
    (file,) = entry.folder.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    other = Entry(tmp_path / "features", {"backbone": "toy"})
    other.refresh()
    assert other.missing([digest(0), digest(1)]) == [0, 1]
    assert not list(entry.folder.glob("*.safetensors"))


def test_those_unused_for_longest_make_room(tmp_path):
    home = tmp_path / "features"
    old, used, new = (Entry(home, {"number": i}) for i in range(3))
    for one in (old, used):
        add(one, [0], [torch.zeros(1000)])
    os.utime(old.folder, (1, 1))
    size = sum(f.stat().st_size for f in used.folder.iterdir())
    add(new, [0], [torch.zeros(1000)], limit=2.5 * size)
    assert not old.folder.exists() and used.folder.exists() and new.folder.exists()
    with pytest.raises(ConfigError, match=r"cache\.max_gb: 1e-06: these activations need 0\.0"):
        add(Entry(home, {"number": 9}), [0], [torch.zeros(1000)], limit=1000)
    assert used.folder.exists()


def test_nothing_half_written_is_left(entry, monkeypatch):
    monkeypatch.setattr("tlresearch.training.table.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(ConfigError, match=r"cache\.features: nothing can be kept in .*full"):
        add(entry, [0], [torch.zeros(3)])
    assert [f.name for f in entry.folder.iterdir()] == [KEY]

"""Which samples are shown of a store that has more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.preview.samples import ShownStore, spread

from stores import build_store

CELLS = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@given(CELLS, st.integers(1, 70))
def test_every_cell_has_as_many_as_the_others_or_all_that_it_has(cells: list[int], num: int) -> None:
    chosen = spread(np.unique(cells, return_inverse=True)[1], num).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(num, len(cells))
    shown = {cell: sum(cells[position] == cell for position in chosen) for cell in cells}
    most = max(shown.values())
    assert all(count >= most - 1 or count == cells.count(cell) for cell, count in shown.items())


@given(st.integers(1, 50), st.integers(1, 50))
def test_one_cell_is_sampled_from_one_end_to_the_other(size: int, num: int) -> None:
    chosen = spread(np.zeros(size, np.int64), num)
    gaps = np.diff(chosen)
    assert chosen[0] == 0
    assert num == 1 or chosen[-1] == size - 1
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_classes_and_splits_are_the_cells(tmp_path: Path) -> None:
    events = build_store(tmp_path, "events", num_samples=60)
    config = PairingConfig(train=0.5, validation=0.2, test=0.3)
    pairs = pairing.run(config, events, build_store(tmp_path, "images", num_samples=60), tmp_path).path
    store = ShownStore(FrameStore(pairs))
    shown = store.choose(store.readable(), 18)
    counts: dict[tuple[str, str], int] = {}
    for sample in shown:
        key = (sample.class_name, sample.split)
        counts[key] = counts.get(key, 0) + 1
    expected = {(name, split) for name in ("ant", "bee", "cat") for split in ("train", "validation", "test")}
    assert counts == dict.fromkeys(expected, 2)
    assert store.choose(store.readable(), 18) == shown
    ids = PairStore(pairs).events.sample_id[PairStore(pairs).rows_of("test")].tolist()
    of_test = store.choose(store.readable(ids), 1000)
    assert [sample.sample_id for sample in of_test] == ids


def test_a_recording_that_no_list_names_is_in_no_split(tmp_path: Path) -> None:
    events = build_store(tmp_path, "events", num_samples=30)
    names = FrameStore(events).sample_id.tolist()
    parts = {name: ("train", "test", "")[number // 3 % 3] for number, name in enumerate(names)}
    (tmp_path / "list.csv").write_text("".join(f"{name},{part}\n" for name, part in parts.items() if part))
    config = PairingConfig.model_validate({"split_file": tmp_path / "list.csv", "validation": 0})
    store = ShownStore(FrameStore(pairing.run(config, events, None, tmp_path).path))
    shown = {sample.sample_id: sample.split for sample in store.choose(store.readable(), 30)}
    assert shown == {name: part or "in no split" for name, part in parts.items()}

"""Whose text and voices a model learned from must stand beside its weights, not only in shards left behind."""

from __future__ import annotations

import shutil

from amalia_mm.data.index import ShardIndex
from amalia_mm.train.card import card


def config(folder, weight=0.5):
    return {
        "model": {"class_path": "amalia_mm.train.language.Language"},
        "data": {"init_args": {"shards": {str(folder): weight}}},
    }


def test_every_source_stands_there_with_its_records_and_its_licence(toy_data):
    folder = next(path.parent for path in sorted(toy_data.rglob("index.json")))
    text = card(config(folder), 7)
    sources = ShardIndex.load(folder).coded["source"].counts()
    assert text.startswith("# Language model\n\nTrained for 7 steps")
    assert f"- `{folder}` (weight 0.5)\n" in text
    for source, num_records in sources.items():
        line = next(line for line in text.splitlines() if f" {source}: " in line)
        assert f"{num_records} records, licence " in line


def test_shards_that_are_gone_cost_their_lines_and_not_the_model(toy_data, tmp_path):
    folder = next(path.parent for path in sorted(toy_data.rglob("index.json")))
    shutil.copytree(folder, tmp_path / "moved")
    (tmp_path / "moved" / "index.json").unlink()
    assert "can no longer be read" in card(config(tmp_path / "moved"), 7)

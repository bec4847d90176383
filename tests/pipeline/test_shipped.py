"""The shipped configurations: listed, copied, and every key explained."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.pipeline import keys, shipped
from dvs_transfer.pipeline.config import ExperimentConfig, load_config
from dvs_transfer.pipeline.studies.study import load_study

REPOSITORY = Path(__file__).parent.parent.parent


def test_every_shipped_file_is_listed_with_a_sentence() -> None:
    there = {path.relative_to(REPOSITORY / "configs").with_suffix("").as_posix() for path in
             (REPOSITORY / "configs").rglob("*.toml")}  # fmt: skip
    listed = shipped.names()
    assert set(listed) == there
    assert all(len(sentence) > 20 for sentence in listed.values())
    assert not [name for name in listed if "\\'" in shipped.text(name)]  # of the shell that wrote it


@pytest.mark.parametrize("name", sorted(shipped.names()))
def test_a_copy_says_what_its_original_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = shipped.copy(name)
    original = REPOSITORY / "configs" / f"{name}.toml"
    if name.startswith("studies/"):
        copied, of_original = load_study(written), load_study(original)
        assert [row.cells for row in copied.rows] == [row.cells for row in of_original.rows]
    else:
        assert load_config(written) == load_config(original)
    with pytest.raises(ConfigError, match="is there already"):
        shipped.copy(name)


def test_everything_that_draws_a_demo_can_be_run_beside_the_others() -> None:
    """A folder of drawn data is one set of settings', which refuses others, and the one that is read."""
    drawn: dict[object, set[str]] = {}
    for name in shipped.names():
        path = REPOSITORY / "configs" / f"{name}.toml"
        study = load_study(path) if name.startswith("studies/") else None
        for config in [load_config(path)] if study is None else [row.cells[0].config for row in study.rows]:
            if config.demo is not None:
                out = config.demo.out
                drawn.setdefault(out, set()).add(config.demo.model_dump_json())
                assert config.events.raw.parts[0] == str(out), name
                assert config.images is None or config.images.raw.parts[0] == str(out), name
    assert len(drawn) > 3
    assert {len(settings) for settings in drawn.values()} == {1}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"nothing: no shipped configuration; there are .*nmnist-saccade"):
        shipped.text("nothing")


def test_keys_are_those_that_a_file_takes() -> None:
    """A default that a key states is one that a file may state."""
    # These need other keys beside them; those of `simulate` are as in demo.simulation.
    alone = ("train.options.", "simulate.")
    for key in keys.explain():
        assert key.meaning, key.key
        if key.default and (key.key.startswith(alone) or key.key == "pairing.train"):
            tomllib.loads(f"value = {key.default}")
        elif key.default:
            load_config("demo", [f"{key.key}={key.default}"])
    named = {key.key for key in keys.explain() if not key.key.startswith("train.options.")}
    loaded = load_config("demo").model_dump(mode="json", context={"whole": True})
    for section in ("frames", "pairing", "model", "train", "evaluate", "conversion"):
        for name in loaded[section]:
            key = f"{section}.{name}"
            assert key in named or any(other.startswith(f"{key}.") for other in named), key


def test_a_default_is_the_model_s() -> None:
    (key,) = keys.explain("train.saccade.amplitude")
    default = ExperimentConfig.model_fields["train"].default.saccade.amplitude
    assert tuple(tomllib.loads(f"value = {key.default}")["value"]) == default
    assert keys.explain("frames.num_bins")[0].unit == "time bins"


def test_an_unknown_section_names_the_sections() -> None:
    with pytest.raises(ConfigError, match=r"zzz: no section or key .*train\.saccade"):
        keys.explain("zzz")
    for name, meant in (("trian", "train"), ("saccade", "train.saccade"), ("train.epoch", "train.epochs")):
        with pytest.raises(ConfigError, match=rf"did you mean {meant}\?"):
            keys.explain(name)


def test_the_page_is_what_the_command_prints() -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text()
    assert page.endswith(keys.as_markdown(keys.explain())), (
        "docs/configuration.md is out of date: `dvs-transfer config keys --markdown` prints its tables"
    )

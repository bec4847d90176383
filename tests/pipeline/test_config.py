"""Configuration files: the shipped ones are valid, overrides work, every mistake is named in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.pipeline.config import build, load_config, parse_overrides
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.saccades.config import MOTION_NAMES
from dvs_transfer.stages.sources import SOURCES

SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
MINIMAL = """
name = "x"
[events]
source = "nmnist"
raw = "a"
[images]
source = "mnist"
raw = "b"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "x.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_valid(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert SOURCES[config.events.source].kind == "events"
    assert SOURCES[config.images.source].kind == "images"


def test_the_method_s_values(repository: Path) -> None:
    """Section 6 of the paper's set-up, as shipped."""
    config = load_config(repository / "configs" / "ncaltech101.toml")
    assert (config.frames.num_bins, config.frames.size, config.frames.mode) == (10, 48, "time")
    assert (config.train.epochs, config.train.batch_size, config.train.seed) == (300, 120, 42)
    assert (config.train.base_learning_rate, config.train.weight_decay, config.train.warmup_epochs) == (5e-3, 0.01, 5)
    assert (config.train.sliding, config.train.sliding_exponent) == ("power", 3)
    assert (config.train.loss.alignment_weight, config.train.loss.tet_mse_weight) == (0.5, 1e-3)
    assert config.pairing.protocol == "disjoint"
    assert (config.model.batch_norm, config.model.running_statistics) == ("per_step", "shared")
    other = load_config(repository / "configs" / "cepdvs.toml")
    assert (other.frames.num_bins, other.train.epochs, other.images.value_order) == (6, 200, "before_resize")
    assert (other.pairing.train, other.pairing.test) == (0.5, 0.2)
    assert (other.model.batch_norm, other.model.running_statistics) == ("per_step", "shared")
    assert (other.train.augmentation.flip, other.train.augmentation.rotation_degrees) == (True, 15)


def test_every_motion_is_in_a_shipped_file() -> None:
    shown = [config.train for config in map(load_config, SHIPPED) if config.train.encoding == "saccade"]
    assert {train.saccade.motion for train in shown} == set(MOTION_NAMES)


@pytest.mark.parametrize(
    ("published", "recipe"),
    [
        ("ncaltech101", "ncaltech101-saccade"),
        ("cepdvs", "cepdvs-saccade"),
        ("cifar10dvs", "cifar10dvs-saccade"),
        ("nomniglot", "nomniglot-strokes"),
    ],
)
def test_a_recipe_has_the_data_and_the_split_of_the_published_method(
    repository: Path, published: str, recipe: str
) -> None:
    """Recordings, frames, split, network and steps are the same: what differs is how photos teach."""
    one, other = (load_config(repository / "configs" / f"{name}.toml") for name in (published, recipe))
    for section in ("events", "frames", "pairing", "conversion"):
        assert getattr(one, section) == getattr(other, section), section
    assert one.model.name == other.model.name
    for key in ("epochs", "epoch_steps", "batch_size", "base_learning_rate", "schedule", "sampling", "select"):
        assert getattr(one.train, key) == getattr(other.train, key), key
    assert one.train.augmentation == other.train.augmentation
    assert (one.train.encoding, other.train.encoding) == ("value", "saccade")


def test_overrides_change_single_keys(tmp_path: Path) -> None:
    overrides = ["train.epochs=5", "name=other", "pairing.protocol = unrestricted", "train.loss.tet=false"]
    config = load_config(write(tmp_path, MINIMAL), overrides)
    assert (config.train.epochs, config.name, config.pairing.protocol) == (5, "other", "unrestricted")
    assert config.train.loss.tet is False


def test_released_combinations_share_their_running_statistics(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert load_config(path).model.running_statistics == "per_domain"
    assert load_config(path, ["train.released=without_v"]).model.running_statistics == "shared"
    with pytest.raises(ConfigError, match=r"sets model\.running_statistics to 'shared', not 'per_domain'"):
        load_config(path, ["train.released=without_v", "model.running_statistics=per_domain"])


def test_every_problem_is_in_one_message(tmp_path: Path) -> None:
    text = MINIMAL + "[frames]\nbins = 5\nsize = -1\n[train]\nepochs = 'many'\n[nonsense]\nx = 1\n"
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text.replace('raw = "b"\n', "")))
    message = str(caught.value)
    assert "x.toml: 5 problems" in message
    assert "frames.bins: unknown key; did you mean num_bins?" in message
    assert "frames.size: input should be greater than or equal to 0 (found -1)" in message
    assert "train.epochs: input should be a valid integer" in message
    assert "images.raw: missing" in message
    assert "nonsense: unknown key; known keys are baseline, conversion, demo, evaluate" in message


def test_a_key_without_its_section_is_named_with_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"epochs: unknown key; did you mean train\.epochs\?"):
        load_config(write(tmp_path, MINIMAL), ["epochs=3"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name = ", "not valid TOML"),
        (MINIMAL + "[pairing]\ntrain = 0.9\nvalidation = 0.1\ntest = 0.1\n", r"must be at most 1, they are 1\.1"),
        (MINIMAL + "[frames]\nmode = 'window'\n", "mode 'window' needs window_us"),
        (
            MINIMAL + "[simulate]\nseed = 1\n",
            r"simulate records the images of a folder: it needs events\.source = 'folder'",
        ),
        (
            MINIMAL + "[frames]\nsensor_size = [0, 5]\n",
            r"frames: sensor_size \[0, 5\]: each side has 1 to 65536",
        ),
        (MINIMAL + f"[train]\nseed = {2**63}\n", r"train\.seed: input should be less than 9223372036854775808"),
        (MINIMAL.replace('"x"', '"../x"'), "name: string should match"),
    ],
)
def test_impossible_files_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config(write(tmp_path, text))


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    with pytest.raises(ConfigError, match=r"y\.toml: no such configuration file; in .* there are x\.toml"):
        load_config(tmp_path / "y.toml")


@pytest.mark.parametrize("override", ["train.epochs", "=5", ".=5", "name.x=5"])
def test_garbled_overrides_are_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(write(tmp_path, MINIMAL), [override])


def test_options_build_models() -> None:
    assert build(FramesConfig, num_bins=3, size=None) == FramesConfig(num_bins=3)
    assert parse_overrides(["a.b=1", "a.c=x"]) == {"a": {"b": 1, "c": "x"}}
    with pytest.raises(ConfigError, match="num_bins: input should be greater than or equal to 1"):
        build(FramesConfig, num_bins=0)

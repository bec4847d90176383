"""The command line: help that teaches, options that reach the configuration, results as text and JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from command_line import convert_command, refuse, run_command, succeed
from pydantic import BaseModel
from raw_data import write_raw_data
from tiny import EVERY_STEP, make_workspace, preprocess

from dvs_transfer.cache.verify import verify_store
from dvs_transfer.cli import app
from dvs_transfer.pipeline import experiment
from dvs_transfer.pipeline.commands.common import Settings
from dvs_transfer.pipeline.progress import to_document
from dvs_transfer.stages import pairing
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConversionOptions, ConvertConfig
from dvs_transfer.stages.frames.spec import FramesConfig, ImagesConfig
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store

CONFIGS = Path(__file__).parent.parent / "configs"


def list_commands() -> Iterator[tuple[str, Any]]:
    """Every command by the words that call it, but for the hidden names of before."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if command.hidden:
            continue
        inner = getattr(command, "commands", None)
        yield from ((f"{name} {key}", value) for key, value in inner.items()) if inner else [(name, command)]


COMMANDS = dict(list_commands())


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw_data(tmp_path / "räw data")


# Help


def test_every_command_is_known_here() -> None:
    assert {"preprocess", "train", "evaluate", "convert", "pair", "cache prune", "bench frames"} <= set(COMMANDS)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_printed(name: str) -> None:
    outcome = succeed(*name.split(), "--help")
    assert outcome.out.startswith(f"Usage: dvs-transfer {name}".rstrip())
    assert outcome.err == ""
    assert not name or "Example: dvs-transfer" in " ".join(outcome.out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_in_the_help_is_a_command_that_parses(name: str) -> None:
    words = shlex.split(COMMANDS[name].help.partition("Example:")[2])
    assert words[: 1 + len(name.split())] == ["dvs-transfer", *name.split()]
    COMMANDS[name].make_context(name, words[1 + len(name.split()) :])  # raises for what the command does not know


@pytest.mark.parametrize(
    ("command", "model"),
    [
        ("convert", FramesConfig),
        ("convert", ImagesConfig),
        ("convert", ConversionOptions),
        ("pair", PairingConfig),
    ],
)
def test_every_field_is_an_option_of_the_same_name(command: str, model: type[BaseModel]) -> None:
    options = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    assert {f"--{field.replace('_', '-')}" for field in model.model_fields} <= options


# Options


@pytest.mark.parametrize(
    ("options", "frames", "images", "conversion_options"),
    [
        ("", {}, {}, {}),
        (
            "--size 32 --resize sum --dtype uint8 --mode exact --no-crop --num-bins 3",
            {"size": 32, "resize": "sum", "dtype": "uint8", "mode": "exact", "crop": False, "num_bins": 3},
            {"size": 32},
            {},
        ),
        ("--resize none", {"resize": "none", "size": 0}, {}, {}),
        ("--resize none --size 0", {"resize": "none", "size": 0}, {}, {}),
        ("--mode window --window-us 500", {"mode": "window", "window_us": 500}, {}, {}),
        ("--value-order before_resize", {}, {"value_order": "before_resize"}, {}),
        ("--samples-per-shard 7 --strict", {}, {}, {"samples_per_shard": 7, "strict": True}),
    ],
)
def test_convert_s_options_reach_the_configuration(
    options: str,
    frames: dict[str, Any],
    images: dict[str, Any],
    conversion_options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    given: list[ConvertConfig] = []
    monkeypatch.setattr(conversion, "run", lambda config, *_: given.append(config) or {})
    succeed("--root", tmp_path, "convert", "nmnist", "some where", *options.split(), "--json")
    expected = ConvertConfig(
        source="nmnist",
        raw=Path("some where"),
        out=tmp_path / "data" / "cache",
        frames=FramesConfig(**frames),
        images=ImagesConfig(**images),
        conversion=ConversionOptions(**conversion_options),
    )
    assert given == [expected]


def test_pair_s_options_reach_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(pairing, "run", lambda *arguments: given.append(arguments) or {})
    options = "--protocol unrestricted --train 0.5 --validation 0.2 --test 0.3 --train-share 0.1 --seed 4"
    succeed("pair", "c/e.zarr", "c/i.zarr", *options.split(), "--json")
    expected = PairingConfig(protocol="unrestricted", train=0.5, validation=0.2, test=0.3, train_share=0.1, seed=4)
    assert given == [(expected, Path("c/e.zarr"), Path("c/i.zarr"), Path("c"), Settings.reporter.say)]


def test_an_option_of_many_values_is_given_once_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[PairingConfig] = []
    monkeypatch.setattr(pairing, "run", lambda config, *_: given.append(config) or {})
    succeed(
        "pair", "c/e.zarr", "c/i.zarr", "--novel-classes", "Greek/*", "--novel-classes", "Angelic/character01", "--json"
    )
    succeed("pair", "c/e.zarr", "c/i.zarr", "--json")
    assert [config.novel_classes for config in given] == [("Greek/*", "Angelic/character01"), ()]


def test_overrides_of_demo_and_simulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvs_transfer.stages import demo, simulation

    given: list[Any] = []
    for stage in (demo, simulation):
        monkeypatch.setattr(stage, "run", lambda config, *_: given.append(config) or {})
    succeed("demo", tmp_path, "--set", "images_per_class=3", "--set", "simulation.seed=5", "--json")
    succeed("simulate", tmp_path, tmp_path / "out", "--set", "on_threshold=0.3", "--json")
    assert (given[0].images_per_class, given[0].simulation.seed, given[0].out) == (3, 5, tmp_path)
    assert (given[1].simulation.on_threshold, given[1].out) == (0.3, tmp_path / "out")
    succeed("simulate", tmp_path, tmp_path / "out", "--camera", "nmnist", "--set", "seed=5", "--json")
    assert given[2].simulation == simulation.CAMERAS["nmnist"].model_copy(update={"seed": 5})


# Output


def test_json_is_the_report(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    made = succeed(*convert_command(raw, out), "--json").document
    again = to_document(conversion.run(ConvertConfig(**_settings(raw, out))))
    assert made | {"was_built": False, "seconds": 0, "mev_per_s": None} == again | {"seconds": 0}
    assert (made["was_built"], made["num_samples"], made["num_events"]) == (True, 14, 42_000)
    images = succeed(*convert_command(raw, out, "caltech101"), "--json").document["path"]
    paired = succeed("--quiet", "pair", made["path"], images, "--json").document
    assert paired == to_document(pairing.run(PairingConfig(), Path(made["path"]), Path(images), out))
    verified = succeed("cache", "verify", made["path"], images, "--json").document
    assert verified == [to_document(verify_store(Path(path))) for path in (made["path"], images)]
    listed = succeed("sources", "--json").document
    assert (listed["mnist"]["kind"], listed["ncaltech101"]["num_samples"]) == ("images", 8709)


def _settings(raw: Path, out: Path) -> dict[str, Any]:
    return {
        "source": "ncaltech101",
        "raw": raw / "events",
        "out": out,
        "frames": {"size": 8},
        "conversion": {"samples_per_shard": 5},
    }


def test_a_run_and_its_baseline_are_evaluated_and_compared_in_the_way_that_is_asked_for(tmp_path: Path) -> None:
    """The comparison behind the evaluation does not evaluate them again as their configurations say."""
    own = {"train": {"epochs": 1}, "baseline": {"name": "events", "train": {"method": "events"}}}
    root = make_workspace(tmp_path / "root", EVERY_STEP, own)
    succeed(*preprocess(root))
    common = ("--config", root / "tiny.toml")
    succeed("--quiet", "--root", root, "train", *common)
    said = succeed("--quiet", "--root", root, "evaluate", *common, "--set", "evaluate.shifts=1").out
    written = [json.loads(path.read_text()) for path in root.glob("runs/*/evaluation-test.json")]
    assert [report["shifts"] for report in written] == [1, 1]
    assert "all were evaluated with: float32, event head, mean of 5 views" in said


def test_a_run_that_is_named_has_its_own_settings(tmp_path: Path) -> None:
    """No command takes the demo's in their place, or says nothing of a setting that cannot be changed any more."""
    root, run = make_workspace(tmp_path / "root", EVERY_STEP, {"train": {"epochs": 1}}), tmp_path / "run"
    succeed(*preprocess(root))
    before = ("--quiet", "--root", root)
    succeed(*before, "train", "--config", root / "tiny.toml", "--run", run)
    assert succeed(*before, "train", "--run", run, "--json").document["resumed_after"] == 1
    succeed(*before, "train", "--run", run, "--restart")
    assert json.loads((run / "config.json").read_text())["experiment"]["name"] == "tiny"
    for command in (
        ("evaluate", run),
        ("report", run),
        ("predict", run, "x.bin"),
        ("compare", run),
        ("analyse", "all", run),
    ):
        says = ["--set train.epochs=9: a trained run keeps its settings"]
        refuse(*before, *command, "--set", "train.epochs=9", code=2, says=says)
    for command in (("report", run), ("analyse", "all", run)):
        refuse(*before, *command, "--set", "evaluate.shifts=1", code=2, says=["asks nothing else"])
    refuse(*before, "compare", run, run, "--set", "evaluate.split=validation", code=2, says=["say --split"])
    loud = ("--root", root, "evaluate", run, "--set", "evaluate.shifts=1")
    assert f"next: dvs-transfer report {run} --root {root}\n" in succeed(*loud).out


def test_progress_goes_to_standard_error_and_quiet_silences_it(raw: Path, tmp_path: Path) -> None:
    told = succeed(*convert_command(raw, tmp_path / "a")[1:])
    assert "convert ncaltech101: 3 of 3" in told.err
    assert "convert ncaltech101: 3 of 3" not in told.out
    quiet = succeed(*convert_command(raw, tmp_path / "b"))
    assert quiet.err == ""
    assert re.match(r"converted: 14 recordings of ncaltech101, [\d,]+ events, \d\.\d MB, \d\.\d s", quiet.out)
    assert len(quiet.out.splitlines()) == 2
    assert "samples                14" in succeed("-v", *convert_command(raw, tmp_path / "b")[1:]).out.splitlines()[4]


def test_options_before_the_command_may_stand_after_it(tmp_path: Path) -> None:
    build_store(tmp_path / "data" / "cache", "events")
    for given in (("--root", tmp_path, "cache", "ls"), ("cache", "ls", "--root", tmp_path, "-q")):
        assert len(succeed(*given, "--json").document) == 1


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = build_store(tmp_path / "data" / "cache", "events")
    assert succeed("cache", "info", f"~/data/cache/{store.name}", "--json").document["num_samples"] == 30


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert succeed("--version").out == f"dvs-transfer {version('dvs-transfer')}\n"


def test_commands_are_listed_in_the_order_of_the_work_in_whole_sentences() -> None:
    text = succeed("--help").out
    listed = [
        line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line[:3].strip() and line[2] != " "
    ]
    places = [listed.index(name) for name in ("doctor", "download", "preprocess", "train", "evaluate", "report")]
    assert places == sorted(places)
    assert "..." not in text.partition("Commands:")[2]
    assert max(map(len, text.splitlines())) <= 80


def test_configurations_are_listed_shown_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "demo" in succeed("config", "ls", "--json").document
    assert succeed("config", "show", "demo").out == (CONFIGS / "demo.toml").read_text()
    assert "preprocess --config demo.toml" in succeed("config", "init", "demo").out
    assert (tmp_path / "demo.toml").read_text() == (CONFIGS / "demo.toml").read_text()
    assert "is there already" in run_command("config", "init", "demo").err
    told = succeed("config", "init", "studies/demo-ablation", "my study.toml", "--root", "my root").out
    assert told == "my study.toml\nnext: dvs-transfer study run 'my study.toml' --root 'my root'\n"
    assert succeed("config", "init", "demo", "second.toml", "--quiet").out == "second.toml\n"
    assert "train.epochs: integer, >= 1" in succeed("config", "keys", "train.epochs").out


def test_the_root_is_an_option_or_an_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "zwei ü"
    for root, kinds in ((one, ["events"]), (two, ["events", "images"])):
        for kind in kinds:
            build_store(root / "data" / "cache", kind)
    assert len(succeed("--root", two, "cache", "ls", "--json").document) == 2
    monkeypatch.setenv("DVS_TRANSFER_ROOT", str(two))
    assert len(succeed("cache", "ls", "--json").document) == 2
    assert len(succeed("--root", one, "cache", "ls", "--json").document) == 1
    assert succeed("--root", tmp_path / "none", "cache", "ls", "--json").document == []


def test_the_cache_is_an_option_or_an_environment_variable(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE", str(tmp_path / "shards"))
    build_store(tmp_path / "elsewhere", "events")
    address = f"memory://{tmp_path.name}/caches"
    lost = f"{address}: is in this process's memory alone, and gone when this command ends"
    converted = succeed(*convert_command(raw, tmp_path)[:4], "--cache", address, "--size", "8", "--json")
    assert lost in caplog.messages
    made = converted.document["path"]
    assert made.startswith(f"{address}/ncaltech101-")
    caplog.clear()
    assert "1 stores in" in succeed("--cache", tmp_path / "elsewhere", "cache", "ls").out
    assert caplog.messages == []
    assert succeed("cache", "ls", "--cache", address, "--root", tmp_path).out.endswith(f"1 stores in {address}\n")
    monkeypatch.setenv("DVS_TRANSFER_CACHE", address)
    assert succeed("cache", "info", made).out.startswith(f"{made}\n")
    assert len(succeed("--root", tmp_path, "cache", "ls", "--json").document) == 1
    refuse("--root", address, "cache", "ls", code=2, says=[address, "the root is a folder", f"--cache {address}"])
    refuse("preview", made, "--out", f"{address}/x.png", code=2, says=[f"{address}/x.png", "stores alone"])
    refuse("cache", "ls", "--cache", "nonsense://x", code=2, says=["what opens nonsense:// is not installed"])


# The process


def test_ctrl_c_ends_with_130(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "convert_shards", interrupt)
    outcome = run_command(*convert_command(raw, tmp_path / "out"), "--scheduler", "serial")
    assert (outcome.code, outcome.out) == (130, "")
    assert not list((tmp_path / "out").glob("*.zarr"))


def test_memory_that_runs_out_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "preprocess", lambda *_: torch.empty(1 << 50))
    refuse(
        "preprocess",
        "--root",
        tmp_path,
        code=1,
        says=["not enough memory (", "can't allocate memory", "train.batch_size"],
    )


def test_memory_of_a_gpu_that_runs_out_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")

    monkeypatch.setattr(experiment, "preprocess", run_out)
    refuse(
        "preprocess",
        "--root",
        tmp_path,
        code=1,
        says=["not enough memory (CUDA out of memory. Tried to allocate 2.00 GiB.);"],
    )


def test_another_error_of_torch_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "preprocess", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        run_command("preprocess", "--root", tmp_path)


@pytest.mark.parametrize("code", ["import dvs_transfer", "from dvs_transfer import cli; cli.main(['--help'])"])
def test_starting_is_quick_and_imports_no_heavy_library(code: str) -> None:
    check = "import sys; print(sorted({'torch', 'zarr', 'numba', 'dask', 'matplotlib', 'scipy'} & set(sys.modules)))"
    before = os.times()
    done = subprocess.run([sys.executable, "-c", f"{code}; {check}"], capture_output=True, text=True, timeout=60)
    after = os.times()  # of processors: the other tests' work is not its own
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "dvs_transfer", "convert", "nonsense", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: nonsense: no such source")

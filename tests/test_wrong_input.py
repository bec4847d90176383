"""Wrong input gets a message that names the file, what was found and what to do; nothing half done is left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import convert_command, refuse, run_command, snapshot, succeed
from raw_data import write_raw_data
from tiny import RAW, to_toml

from dvs_transfer.stages.sources import SOURCES

from stores import build_store

EVENT_FILE = "events/Caltech101/ant/image_0001.bin"
IMAGE_FILE = "images/101_ObjectCategories/ant/image_0001.jpg"
MINIMAL = to_toml({"name": "x", **RAW})


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw_data(tmp_path / "räw data")


@pytest.fixture
def cache(built_stores: Path, tmp_path: Path) -> Path:
    """Three stores: of events, of their images, and their pairs."""
    return Path(shutil.copytree(built_stores, tmp_path / "cache"))


def stores_of(cache: Path) -> tuple[Path, Path, Path]:
    """The stores of events, images and pairs."""
    events, images, pairs = (next(cache.glob(f"{name}-?????*.zarr")) for name in ("toy-events", "toy-images", "*+*"))
    return events, images, pairs


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("nonsense", "No such command 'nonsense'"),
        ("cache nonsense", "No such command 'nonsense'"),
        ("convert --nonsense", "No such option"),
        ("train --epoch 5", "No such option: --epoch; did you mean --set train.epochs=5?"),
        ("train --batch-size=8", "--batch-size; did you mean --set train.batch_size=8?\n"),
        ("preprocess --num-bins", "--num-bins; did you mean --set frames.num_bins=VALUE?"),
        ("evaluate --splitt test", "No such option: --splitt (Possible options: --set, --split)"),
        ("convert", "Missing argument 'source'"),
        ("convert nmnist x --size many", "--size"),
        ("convert nmnist x --workers -1", "--workers"),
        ("convert nmnist x --num-bins 0", "num_bins: input should be greater than or equal to 1 (found 0)"),
        ("convert nmnist x --dtype int16", "'int16' is not one of 'float16', 'float32', 'uint8', 'uint16'"),
        ("convert nmnist x --dtype uint8", "choose float16 or float32, or resize 'sum' or 'none'"),
        ("convert nmnist x --size 0", "resize 'bilinear' needs a size of at least 1 pixel"),
        ("convert nmnist x --mode window", "mode 'window' needs window_us"),
        ("convert nmnist x --scheduler fork", "expected threads, processes, serial or an address"),
        ("pair a b --train 0.9 --test 0.5", "train + validation + test must be at most 1, they are 1.5"),
        ("pair a b --protocol mine", "'mine' is not one of 'disjoint', 'unrestricted'"),
        ("demo out --set sed=1", "sed: unknown key; did you mean seed?"),
        ("demo out --set simulation.sed=1", "simulation.sed: unknown key; did you mean seed?"),
        ("demo out --set model=1", "model: unknown key; known keys are images_per_class, out"),
        ("demo out --set seed", "expected KEY=VALUE"),
        (
            "simulate in out --set amplitude_px=1000",
            "simulation.amplitude_px: input should be less than or equal to 64",
        ),
        ("preview x.zarr --samples 0", "--samples"),
        ("preview x.zarr --out picture.jpg", "picture.jpg: pictures are written as PNG"),
        ("compare", "Missing argument 'runs'"),
        ("compare a --split train", "'train' is not one of 'validation', 'test'"),
        ("train --config nowhere.toml", "nowhere.toml: no such configuration file"),
        ("compare a --set evaluate.shift=2", "evaluate.shift: unknown key; did you mean shifts?"),
        ("evaluate a --set evalute.shifts=2", "evalute: unknown key; did you mean evaluate?"),
        ("report a --set evaluate.shifts=2", "a trained run keeps its settings, and this command asks nothing else"),
        ("predict a b --set trian.seed=2", "trian: unknown key; known keys are evaluate"),
        ("evaluate a --config nowhere.toml", "a run has a configuration of its own; leave it off beside one"),
        ("train -c nmnist-saccade --set train.method=events", "without any: --set train.options={}"),
        ("export a b.nir", "b.nir: a graph is written with --to nir"),
        ("study run demo-batch-norm", "no such configuration file; did you mean studies/demo-batch-norm?"),
        ("study run demo", "demo.toml: the configuration of one training, no study; try `dvs-transfer train --config"),
        (
            "train -c studies/demo-methods",
            "no configuration; try `dvs-transfer study run configs/studies/demo-methods.toml",
        ),
        ("preprocess --config .", ".: is a folder; expected a configuration file (TOML)"),
        ("preprocess demo.toml", "did you mean --config demo.toml?"),
        ("train --set train.trackers=[mlflow]", "[mlflow] is not TOML; texts in it need quotes"),
        ("train --set train.device=gpu", "train.device: expected auto, cpu, cuda or cuda:N (found 'gpu')"),
        ("evaluate a --set evaluate.shifts=-1", "error: evaluate.shifts: input should be greater than or equal to 0"),
        ("config keys saccade", "did you mean train.saccade?"),
        ("config keys train.epoch", "did you mean train.epochs?"),
        ("study table demo-ablation --json --out x", "--json prints the figures, and goes with neither --out nor"),
        ("analyse landscape a --points-1d 4", "points_1d: expected an odd number"),
    ],
)
def test_usage_errors_are_messages(arguments: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refuse(*arguments.split(), code=2, says=[says])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.epoch=5", "train.epoch: unknown key; did you mean epochs?"),
        ("train.epochs=0", "train.epochs: input should be greater than or equal to 1 (found 0)"),
        ("train.base_learning_rate=inf", "train.base_learning_rate: input should be a finite number (found inf)"),
        ("train.loss.initial_coefficient=nan", "train.loss.initial_coefficient: input should be a finite number"),
        ("frames.resize=none", "frames: resize 'none' leaves images without a size"),
        (
            "events.source=nonsense",
            "no source of events is called 'nonsense': 'nonsense' is none of cepdvs",
        ),
        ("images.source=nmnist", "no source of images is called 'nmnist': 'nmnist' is none of caltech101"),
        ("evaluate.split=train", "evaluate.split: input should be 'validation' or 'test' (found 'train')"),
        ("nonsense.x=1", "nonsense: unknown key"),
    ],
)
def test_impossible_configurations_are_refused_before_anything_is_written(
    override: str, says: str, tmp_path: Path
) -> None:
    config = tmp_path / "x.toml"
    config.write_text(MINIMAL)
    refuse("--root", tmp_path / "root", "preprocess", "--config", config, "--set", override, code=2, says=[says])
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.parametrize("text", ["name = ", "\0", MINIMAL.replace("=", ":"), MINIMAL + "name = 'twice'"])
def test_a_garbled_configuration_is_named(text: str, tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text(text)
    refuse("train", "--config", config, code=2, says=[f"{config}: not valid TOML"])


@pytest.mark.parametrize("command", ["train", "evaluate", "report"])
def test_commands_before_their_time_say_what_comes_first(command: str, tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text(MINIMAL)
    says = [str(tmp_path), "no data for this configuration (x) yet", f"run `dvs-transfer preprocess --config {config}"]
    refuse("--root", tmp_path, command, "--config", config, code=1, says=says)
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.parametrize("command", ["evaluate", "report", "compare"])
def test_a_folder_that_is_no_run(command: str, tmp_path: Path) -> None:
    says = [f"{tmp_path}: no run here", "train one with `dvs-transfer train`"]
    refuse(command, tmp_path, code=1, says=says)
    (tmp_path / "x.toml").write_text(MINIMAL)
    refuse(command, tmp_path / "x.toml", code=1, says=["x.toml: a file and no run's folder", "named with --config"])


# Raw data


@pytest.mark.parametrize("source", list(SOURCES))
def test_missing_and_empty_raw_data(source: str, tmp_path: Path) -> None:
    missing, empty, out = tmp_path / "missing", tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    refuse("convert", source, missing, "--out", out, code=1, says=[str(missing), "does not exist; expected"])
    refuse("convert", source, empty, "--out", out, code=1, says=[str(empty), "expected", "found"])
    assert not out.exists()


def test_an_unknown_source_names_those_there_are(tmp_path: Path) -> None:
    refuse("convert", "mnits", tmp_path, code=1, says=["mnits: no such source: 'mnits' is none of caltech101, cepdvs"])


@pytest.mark.parametrize(("source", "file"), [("ncaltech101", EVENT_FILE), ("caltech101", IMAGE_FILE)])
@pytest.mark.parametrize("data", [b"", b"\x00\x01\x02", b"garbled" * 7])
def test_a_broken_sample_is_quarantined_or_with_strict_refused(
    source: str, file: str, data: bytes, raw: Path, tmp_path: Path
) -> None:
    path = raw / file
    path.write_bytes(data)
    report = succeed(*convert_command(raw, tmp_path / "a", source), "--json").document
    assert list(report["quarantined"]) == ["ant/image_0001"]
    assert str(path) in report["quarantined"]["ant/image_0001"]
    assert "  left out: ant/image_0001: " in succeed(*convert_command(raw, tmp_path / "a", source)).out
    out = tmp_path / "b"
    refuse(*convert_command(raw, out, source), "--strict", code=1, says=[str(path)])
    assert not list(out.glob("*.zarr"))
    listed = succeed("--root", _root_with(out, tmp_path), "cache", "ls", "--json").document
    assert [entry["state"] for entry in listed] == ["unfinished"]


def test_raw_data_without_a_readable_sample_leave_no_store(raw: Path, tmp_path: Path) -> None:
    for path in (raw / "events").rglob("*.bin"):
        path.write_bytes(b"abc")
    says = [f"{raw / 'events'}: none of the 14 samples can be read", "3 bytes after byte 0 are not a whole number"]
    refuse(*convert_command(raw, tmp_path / "out"), code=1, says=says)
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_class_sets_that_differ(raw: Path, tmp_path: Path) -> None:
    shutil.rmtree(raw / "images" / "101_ObjectCategories" / "bee")
    out = tmp_path / "out"
    made = [succeed(*convert_command(raw, out, name), "--json").document for name in ("ncaltech101", "caltech101")]
    before = snapshot(out)
    stores = [report["path"] for report in made]
    refuse("pair", *stores, code=1, says=["the classes differ", "without images: bee", "Convert both"])
    assert snapshot(out) == before


def test_sizes_that_differ(tmp_path: Path) -> None:
    """Images may be finer than frames, for train.encoding = saccade; coarser ones are of no use."""
    events, images = build_store(tmp_path, "events", size=8), build_store(tmp_path, "images", size=6)
    before = snapshot(tmp_path)
    says = ["have 8 x 8 pixels", "have 6 x 6", "Convert both to the same size"]
    refuse("pair", events, images, code=1, says=says)
    assert snapshot(tmp_path) == before


def test_stores_of_the_wrong_kind_or_place(cache: Path, tmp_path: Path) -> None:
    events, images, pairs = stores_of(cache)
    refuse("pair", images, events, code=1, says=[f"{images}: a store of images; expected one of events"])
    refuse("pair", events, pairs, code=1, says=[f"{pairs}: a store of pairs; expected one of images"])
    elsewhere = build_store(tmp_path / "elsewhere", "images")
    refuse("pair", events, elsewhere, code=1, says=[str(elsewhere), "must lie in one folder"])


# Existing output


def test_an_existing_output_is_not_mixed_with_another(raw: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    photos = raw / "images" / "101_ObjectCategories"
    for command in (["demo", mine], ["simulate", photos, mine]):
        refuse(*command, code=2, says=[f"{mine} is not empty (thesis.txt)", "choose another folder"])
    assert [path.name for path in mine.iterdir() if not path.name.startswith(".")] == ["thesis.txt"]
    out = tmp_path / "simulated"
    succeed("--quiet", "simulate", photos, out, "--set", "noise_rate_hz=1")
    before = snapshot(out / "Caltech101")
    says = [f"{out} was made otherwise (simulation.noise_rate_hz: 1.0 there, 2.0 here)", "choose another folder"]
    refuse("simulate", photos, out, "--set", "noise_rate_hz=2", code=2, says=says)
    assert snapshot(out / "Caltech101") == before


def test_files_where_folders_belong(raw: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    refuse(*convert_command(raw, file), code=1, says=[str(file)])
    refuse("demo", file, code=1, says=[str(file)])
    assert file.read_text() == "precious"


# Stores


GROUP = '{"zarr_format": 3, "node_type": "group", "attributes": '


@pytest.mark.parametrize(
    ("root_document", "says"),
    [
        (None, "a folder, but no store (it has no zarr.json)"),
        ("", "not the metadata of a zarr group"),
        ("{", "not the metadata of a zarr group"),
        ("[]", "not the metadata of a zarr group"),
        ('{"attributes": [1]}', "not the metadata of a zarr group"),
        (GROUP + "{}}", "a zarr group, but no dvs-transfer store"),
        (
            GROUP + '{"schema_version": 0}}',
            "has schema version 0, this software reads version 1; make it again",
        ),
        (
            GROUP + '{"schema_version": "1"}}',
            "has schema version '1', this software reads version 1",
        ),
        (
            GROUP + '{"schema_version": 1}}',
            "the store's attributes are damaged (kind: Field required",
        ),
    ],
)
def test_what_is_no_store_of_this_schema(root_document: str | None, says: str, cache: Path, tmp_path: Path) -> None:
    events, images, _ = stores_of(cache)
    (events / "zarr.json").unlink()
    if root_document is not None:
        (events / "zarr.json").write_text(root_document)
    picture = tmp_path / "picture.png"
    for command in (
        ["cache", "info", events],
        ["preview", events, "--out", picture],
        ["pair", events, images, "--seed", "1"],
    ):
        refuse(*command, code=1, says=[str(events), says])
    verified = run_command("cache", "verify", events, images)
    assert verified.code == 1
    assert f"{events.name}: DAMAGED" in verified.out
    assert says in verified.out
    assert f"{images.name}: whole" in verified.out
    assert not picture.exists()
    assert len(list(cache.glob("*+*"))) == 1
    listed = succeed("--root", _root_with(cache, tmp_path), "cache", "ls").out
    assert events.name in listed
    assert says in listed


def _root_with(cache: Path, tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    shutil.copytree(cache, root / "data" / "cache")
    return root


@pytest.mark.parametrize("path", ["nothing.zarr", "file.zarr"])
def test_a_path_that_is_no_store(path: str, tmp_path: Path) -> None:
    (tmp_path / "file.zarr").write_text("")
    for command in (["cache", "info"], ["preview"]):
        refuse(*command, tmp_path / path, code=1, says=[str(tmp_path / path)])
    verified = run_command("cache", "verify", tmp_path / path, "--json")
    assert verified.code == 1
    assert str(tmp_path / path) in verified.out + verified.err


@pytest.mark.parametrize(
    "file", ["frames/c/1/0/0/0/0", "label/c/0", "sample_id/c/0", "frames/zarr.json", "label/zarr.json"]
)
@pytest.mark.parametrize("damage", ["flipped", "cut", "deleted"])
def test_damaged_stores_are_refused_and_verify_names_the_file(
    file: str, damage: str, cache: Path, tmp_path: Path
) -> None:
    events, images, pairs = stores_of(cache)
    path = events / file
    data = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(data[:9] + bytes([data[9] ^ 0x55]) + data[10:])
    elif damage == "cut":
        path.write_bytes(data[:-3])
    else:
        path.unlink()
    verified = run_command("cache", "verify", events, images, "--json")
    assert verified.code == 1
    assert [list(report["bad"]) for report in verified.document] == [[file], []]
    assert f"{events.name}: DAMAGED" in run_command("cache", "verify", events).out
    array = file.split("/")[0]
    uses = (
        ["preview", events, "--out", tmp_path / "x.png", "--samples", "30"]
        if array == "frames"
        else ["pair", events, images, "--seed", "1"]
    )
    refuse(*uses, code=1, says=[f"{events}/{array}"])
    assert not (tmp_path / "x.png").exists()
    assert list(cache.glob("*+*")) == [pairs]


def test_verify_s_default_is_the_whole_cache(cache: Path, tmp_path: Path) -> None:
    root = _root_with(cache, tmp_path)
    reports = succeed("--root", root, "cache", "verify", "--json").document
    assert [Path(report["path"]).name for report in reports] == sorted(path.name for path in cache.glob("*.zarr"))
    assert all(report["num_files"] > 0 and not report["bad"] for report in reports)

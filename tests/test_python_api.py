"""docs/python.md as it is written, on a tiny demo; what `predict` says of files, by the run that the page trains."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import refuse, run_command, succeed
from own_recordings import WRITERS, make_events
from tiny import DEMO, TINY, merged, to_toml

import dvs_transfer
from dvs_transfer import convert, evaluate, load_network, predict, report
from dvs_transfer.cache.errors import ConfigError, SourceError, StoreError, TrainingError
from dvs_transfer.pipeline.config import ExperimentConfig, load_config
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources import Events, open_files

from naive import decode_records

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n)+", PAGE, re.MULTILINE) if block.strip()]
LIBRARIES = ("spikingjelly", "lightning")
"""Not among the requirements; the page's examples for them are tests of their own."""
# A network that tells recordings apart, if not rightly: predictions that are all the same would show nothing.
CONFIG = merged(TINY, DEMO, model={"widths": [8, "P", 8, "P"]}, train={"epochs": 4, "base_learning_rate": 3.0})
RECORDINGS = "data/raw/demo/N-Caltech101/Caltech101"


@dataclass(frozen=True)
class Made:
    """What the page leaves: the folder that it ran in, and the names that it gave."""

    root: Path
    names: dict[str, Any]

    @property
    def run(self) -> Path:
        return self.root / self.names["run"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The page's examples, one after the other, where `configs/demo.toml` is tiny."""
    root, before = tmp_path_factory.mktemp("a root"), Path.cwd()
    (root / "configs").mkdir()
    (root / "configs" / "demo.toml").write_text(to_toml(CONFIG))
    names: dict[str, Any] = {}
    os.chdir(root)
    try:
        for block in BLOCKS:
            if not any(library in block for library in LIBRARIES):
                exec(block, names)
        yield Made(root, names)
    finally:
        os.chdir(before)


def predicted(found: Any) -> dict[str, str]:
    """Class by sample id, of files in class folders."""
    paths = ((Path(prediction.file), prediction.best[0].predicted) for prediction in found.predictions)
    return {f"{path.parent.name}/{path.stem}": name for path, name in paths}


# The page


def test_the_page_shows_every_public_function(made: Made) -> None:
    shown = {name for heading in re.findall("^## (.*)$", PAGE, re.MULTILINE) for name in heading.split(", ")}
    told = {name for name in dvs_transfer.__all__ if f"`{name}`" in PAGE}
    assert shown | told >= set(dvs_transfer.__all__) - {"FrameStore", "open_cache", "__version__"}
    assert len(BLOCKS) == 9 + 1 + len(LIBRARIES)
    assert made.names["made"].events.num_samples == 50
    assert made.names["paired"].num_train == 30
    assert made.names["trained"].epochs == 4
    assert made.names["found"].picture.is_file()
    assert len(made.names["named"].predictions) == 5
    assert [len(prediction.best) for prediction in made.names["named"].predictions] == [3] * 5
    assert made.names["scores"].shape == (1, 10)


def test_importing_the_package_loads_neither_torch_nor_zarr() -> None:
    code = "import sys, dvs_transfer; print({'torch', 'zarr', 'numpy', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("name", dvs_transfer.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(dvs_transfer, name) is not None


def test_what_is_misspelt_or_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num_bin: no option of convert; did you mean num_bins\?"):
        convert("folder", tmp_path, num_bin=3)
    with pytest.raises(TrainingError, match="no runs to report of"):
        report([])
    assert load_config("demo", "train.epochs=4").train.epochs == 4


def test_a_configuration_may_be_a_file_a_shipped_one_or_a_model(made: Made) -> None:
    by_name, by_path = load_config("demo"), load_config(made.root / "configs" / "demo.toml")
    assert by_name == by_path == load_config(by_name)
    assert load_config(by_name, ["train.epochs=7"]).train.epochs == 7
    assert isinstance(load_config("nmnist"), ExperimentConfig)
    with pytest.raises(ConfigError, match=r"configs/none\.toml: no such configuration file"):
        load_config("none")


@pytest.mark.filterwarnings("default")  # what the libraries warn of is theirs
@pytest.mark.parametrize("library", LIBRARIES)
def test_examples_for_other_libraries(made: Made, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    pytest.importorskip(library, reason=f"needs {library}")
    from other_libraries import make_lightning_module, make_spikingjelly_network

    monkeypatch.chdir(made.root)
    (block,) = (block for block in BLOCKS if library in block)
    names = dict(made.names)
    if library == "spikingjelly":
        exec(block, names | {"net": make_spikingjelly_network(10)}, names)
        assert (names["frames"].shape, names["rates"].shape) == ((3, 10, 2, 16, 16), (10, 10))
    else:
        module = make_lightning_module(10)
        exec(block, names | {"module": module}, names)
        assert module.trainer.global_step == 3


# Predictions


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_predictions_are_those_of_an_evaluation(made: Made, tmp_path: Path, checkpoint: Any) -> None:
    """The files of the test recordings in the split's order, so in the same batches: the same bits."""
    evaluate(made.run, checkpoint=checkpoint, save_logits=tmp_path / "logits.npz")
    with (made.run / "predictions-test.csv").open() as file:
        expected = {row["sample_id"]: row["predicted"] for row in csv.DictReader(file)}
    with np.load(tmp_path / "logits.npz") as kept:
        logits, names = torch.from_numpy(kept["logits"]), list(kept["class_names"])
    files = [made.root / RECORDINGS / f"{sample_id}.bin" for sample_id in expected]
    found = predict(made.run, files, checkpoint=checkpoint, top=20)
    assert (found.refused, found.source, found.checkpoint) == ({}, "ncaltech101", checkpoint)
    assert predicted(found) == expected
    for row, prediction in enumerate(found.predictions):
        probabilities = logits.mean(0)[row].double().softmax(0)
        assert {guess.predicted: guess.probability for guess in prediction.best} == dict(
            zip(names, probabilities.tolist(), strict=True)
        )
        said = [guess.probability for guess in prediction.best]
        assert said == sorted(said, reverse=True)
        after = [logits[: step + 1, row].mean(0).argmax() for step in range(len(logits))]
        assert [guess.predicted for guess in prediction.after_step] == [names[label] for label in after]
        assert prediction.after_step[-1] == prediction.best[0]


def test_predictions_of_more_views_and_heads_are_those_of_such_an_evaluation(made: Made) -> None:
    said = []
    for overrides in ([], ["evaluate.shifts=2", "evaluate.heads=both"]):
        report = evaluate(made.run, overrides=overrides)
        with (made.run / "predictions-test.csv").open() as file:
            expected = {row["sample_id"]: row["predicted"] for row in csv.DictReader(file)}
        files = [made.root / RECORDINGS / f"{sample_id}.bin" for sample_id in expected]
        found = predict(made.run, files, overrides=overrides)
        assert predicted(found) == expected
        assert (found.precision, found.heads, found.shifts) == (report.precision, report.heads, report.shifts)
        assert all(prediction.after_step[-1] == prediction.best[0] for prediction in found.predictions)
        said.append([prediction.best[0].probability for prediction in found.predictions])
    assert (found.heads, found.shifts) == ("both", 2)
    assert said[0] != said[1]
    with pytest.raises(TrainingError, match=r"evaluate\.adapt = true: .* train with train\.unlabelled\.adapt = true"):
        predict(made.run, files, overrides=["evaluate.adapt=true"])


def test_the_batch_changes_no_name(made: Made) -> None:
    folder = made.root / RECORDINGS
    by_three = predict(made.run, folder, overrides=["evaluate.batch_size=3"])
    assert predicted(by_three) == predicted(predict(made.run, [folder, folder / "cup"]))
    assert len({prediction.best[0].probability for prediction in by_three.predictions}) == 50


def test_a_broken_file_among_others_is_named(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.root / RECORDINGS / "cup", tmp_path / "some")
    first, second = sorted((tmp_path / "some").iterdir())[:2]
    second.write_bytes(second.read_bytes()[:-2])
    (tmp_path / "some" / ".hidden").write_text("x")
    missing = tmp_path / "missing.bin"
    outcome = run_command("predict", made.run, tmp_path / "some", missing)
    assert outcome.code == 1
    assert [line.split("  ")[0] for line in outcome.out.splitlines()] == [
        str(path)
        for path in sorted((tmp_path / "some").iterdir())
        if path not in (second, tmp_path / "some" / ".hidden")
    ]
    assert f"error: {second}: " in outcome.err
    assert f"error: {missing}: cannot be read: No such file" in outcome.err
    assert "2 files could not be read as files of the source ncaltech101; --source folder reads any" in outcome.err
    document = run_command("predict", made.run, first, second, "--json").document
    assert list(document["refused"]) == [str(second)]
    assert document["predictions"][0]["best"][0]["predicted"] in to_names(made)


def to_names(made: Made) -> tuple[str, ...]:
    return load_network(made.run)[1].class_names


def test_a_table_of_steps_and_ranks(made: Made) -> None:
    file = next((made.root / RECORDINGS / "cup").iterdir())
    table = list(csv.DictReader(io.StringIO(succeed("predict", made.run, file, "--csv", "--steps", "--top", "2").out)))
    assert [(row["step"], row["rank"]) for row in table] == [("1", "1"), ("2", "1"), ("3", "1"), ("3", "2")]
    (prediction,) = predict(made.run, file, top=2).predictions
    guesses = [*prediction.after_step[:-1], *prediction.best]
    assert [(row["predicted"], float(row["probability"])) for row in table] == [
        (guess.predicted, guess.probability) for guess in guesses
    ]
    lines = succeed("predict", made.run, file, "--steps").out.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["step 1", "step 2", "step 3"]
    refuse("predict", made.run, file, "--csv", "--json", code=2, says=["choose one"])


@pytest.mark.parametrize("file", ["records.bin", "a.aedat4", "group.h5", "columns.npz", "plain.csv", "five.mat"])
def test_any_format_is_read_from_a_folder(made: Made, tmp_path: Path, file: str) -> None:
    """The same events in another format are named the same, with the same bits."""
    raw = made.root / RECORDINGS / "cup" / "image_0001.bin"
    x, y, t, p = np.array(decode_records(raw.read_bytes())).T
    WRITERS[file](tmp_path / file, Events(x.astype(np.uint16), y.astype(np.uint16), t, p.astype(np.uint8)))
    (expected,) = predict(made.run, raw).predictions
    (found,) = predict(made.run, tmp_path / file, source="folder").predictions
    assert (found.best, found.after_step) == (expected.best, expected.after_step)


def test_a_file_is_read_as_the_data_set_s_are_not_by_its_format_alone(tmp_path: Path) -> None:
    """CIFAR10-DVS has x and y of jAER swapped."""
    path = tmp_path / "new.aedat"
    WRITERS["jaer.aedat"](path, make_events())
    config = FramesConfig(num_bins=1, mode="exact", resize="none", crop=False, sensor_size=(128, 128))
    turned, alone = (
        make_frames(reader.decode(reader.samples[0], reader.read_content(reader.samples[0])), config).data
        for reader in (open_files(name, [path]) for name in ("cifar10dvs", "folder"))
    )
    assert alone.sum() == 2000
    np.testing.assert_array_equal(turned, alone.swapaxes(2, 3))


def test_without_its_store_the_run_itself_says_how_frames_are_made(made: Made, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made.run, tmp_path / "run"))
    document = json.loads((run / "config.json").read_text()) | {"pairs": str(tmp_path / "gone.zarr")}
    (run / "config.json").write_text(json.dumps(document))
    folder = made.root / RECORDINGS / "cup"
    assert predict(run, folder).predictions == predict(made.run, folder).predictions
    document["experiment"]["frames"]["crop"] = False
    (run / "config.json").write_text(json.dumps(document))
    (problem, *_) = predict(run, folder).refused.values()
    assert "that of the run's recordings is not known without their store" in problem
    del document["experiment"]
    (run / "config.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match="does not say how recordings were cut either"):
        predict(run, folder)


def test_frames_that_the_weights_are_not_for(made: Made, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made.run, tmp_path / "run"))
    document = json.loads((run / "config.json").read_text()) | {"pairs": str(tmp_path / "gone.zarr")}
    document["experiment"]["frames"]["num_bins"] = 4
    (run / "config.json").write_text(json.dumps(document))
    with pytest.raises(TrainingError, match=r"weights take \(3, 2, 16, 16\), its recordings were cut to .*num_bins=4"):
        predict(run, made.root / RECORDINGS)


def test_what_cannot_be_predicted_says_why(made: Made, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file in this folder"):
        predict(made.run, tmp_path)
    with pytest.raises(SourceError, match=r"nomniglot: its recordings are no files of their own.*source folder"):
        predict(made.run, made.root / RECORDINGS, source="nomniglot")
    with pytest.raises(SourceError, match="no source of events is called 'mnist'"):
        predict(made.run, made.root / RECORDINGS, source="mnist")
    with pytest.raises(TrainingError, match="no run here"):
        predict(tmp_path, made.root / RECORDINGS)
    with pytest.raises(ConfigError, match="no such analysis; there are activity"):
        dvs_transfer.analyse(made.run, "dreams")


def test_the_whole_sensor_needs_the_same_sensor(made: Made, tmp_path: Path) -> None:
    """Frames of `crop = false` show the sensor that the store's recordings have."""
    raw = made.root / RECORDINGS / "cup" / "image_0001.bin"
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "data" / "raw").symlink_to(made.root / "data" / "raw")
    config = load_config("demo", ["frames.crop=false", "train.epochs=1"])
    dvs_transfer.preprocess(config, root)
    run, _ = dvs_transfer.train(config, root)
    assert len(predict(run, raw).predictions) == 1
    WRITERS["jaer.aedat"](tmp_path / "dvs128.aedat", make_events())
    found = predict(run, tmp_path / "dvs128.aedat", source="folder")
    assert found.predictions == ()
    (problem,) = found.refused.values()
    assert "its sensor has 128 x 128 pixels, that of the run's recordings (240, 180)" in problem

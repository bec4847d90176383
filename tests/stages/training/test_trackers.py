"""Trackers of runs: what they are told, that they go on with a run, and that none of them can end one."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_run import changed, metrics, train, weights

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.runs.metrics import read_metrics
from dvs_transfer.stages.training.config import NEUTRAL_TRAIN_FIELDS, TrainConfig
from dvs_transfer.stages.training.trackers import numbers_of

FILES = {"config.json", "metrics.jsonl", "stints.json", "checkpoints/best.safetensors", "checkpoints/last.safetensors"}


class NoSuchRun(Exception):  # noqa: N818
    """As MLflow tells it."""

    error_code = "RESOURCE_DOES_NOT_EXIST"


class Client:
    """A server of MLflow that stays between clients; it fails from the call `fails_at` of `log_metric` on."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at, self.calls = fails_at, 0
        self.runs: dict[str, dict[str, Any]] = {}

    def __call__(self, place: str) -> Client:
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=name) if self.runs else None

    def create_experiment(self, name: str, files: str | None) -> str:
        return name

    def create_run(self, experiment: str, run_name: str) -> Any:
        run = f"id-{len(self.runs)}"
        self.runs[run] = {"params": {}, "epochs": {}, "files": set(), "status": "RUNNING"}
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def update_run(self, run: str, status: str) -> None:
        if run not in self.runs:
            raise NoSuchRun(f"Run with id={run} not found")
        self.runs[run]["status"] = status

    def log_param(self, run: str, name: str, value: str) -> None:
        assert name not in self.runs[run]["params"]
        self.runs[run]["params"][name] = value

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.calls += 1
        if self.fails_at is not None and self.calls >= self.fails_at:
            raise ConnectionError("the server is gone\nfor good")
        told = self.runs[run]["epochs"].setdefault(step, {})
        assert name not in told
        told[name] = value

    def log_artifact(self, run: str, path: str, folder: str | None) -> None:
        self.runs[run]["files"].add("/".join(filter(None, [folder, Path(path).name])))

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[run]["status"] = status


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=made))
    return made


def expected(run: Path) -> dict[int, dict[str, float]]:
    return {line["epoch"]: numbers_of(line) for line in read_metrics(run)}


def interrupt_in(epoch: int) -> Any:
    def stop(at: Any) -> None:
        if at.epoch == epoch and not at.ends_epoch:
            raise KeyboardInterrupt

    return stop


def test_an_epoch_s_numbers_have_the_names_of_metrics() -> None:
    line = {"epoch": 3, "loss": 0.5, "w_t": [0.25, 0.75], "firing_rates": {"backbone.0": 0.125}, "test_accuracy": None}
    assert numbers_of(line) == {"loss": 0.5, "w_t/0": 0.25, "w_t/1": 0.75, "firing_rates/backbone.0": 0.125}
    assert numbers_of({"epoch": 1, "w_t": None, "firing_rates": None}) == {}


def test_trackers_are_no_part_of_what_a_run_is() -> None:
    assert "trackers" in NEUTRAL_TRAIN_FIELDS
    assert "trackers" not in TrainConfig().model_dump()
    assert TrainConfig(trackers=("wandb",)).model_dump()["trackers"] == ("wandb",)
    with pytest.raises(ValueError, match="tensorboard"):
        TrainConfig(trackers=("paper",))


@pytest.mark.parametrize(("name", "module"), [("mlflow", "mlflow"), ("wandb", "wandb")])
def test_without_the_library_it_says_what_to_install(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TrainingError, match=rf"pip install 'dvs-transfer\[{name}\]'"):
        train(tmp_path, changed(trackers=(name,)))


def test_a_run_is_told_with_parameters_epochs_and_files(tmp_path: Path, server: Client) -> None:
    train(tmp_path / "run", changed(trackers=("mlflow",)))
    (run,) = server.runs.values()
    assert run["epochs"] == expected(tmp_path / "run")
    assert sorted(run["epochs"]) == [1, 2, 3]
    assert run["params"].items() >= {"train.epochs": "3", "train.seed": "42", "run": "run"}.items()
    assert run["files"] == FILES
    assert run["status"] == "FINISHED"


def test_a_run_that_goes_on_goes_on_there(tmp_path: Path, server: Client) -> None:
    config = changed(trackers=("mlflow",))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config, on_progress=interrupt_in(3))
    (run,) = server.runs.values()
    assert run["status"] == "KILLED"
    assert run["files"] == set()
    assert sorted(run["epochs"]) == [1, 2]
    train(tmp_path, config)
    assert len(server.runs) == 1
    assert run["epochs"] == expected(tmp_path)
    assert run["status"] == "FINISHED"
    before = json.dumps(run, default=sorted)
    train(tmp_path, config)  # complete: nothing is left to tell
    assert json.dumps(run, default=sorted) == before
    train(tmp_path, config, restart=True)
    assert len(server.runs) == 2
    assert server.runs["id-1"]["epochs"] == expected(tmp_path)


def test_a_tracker_that_comes_later_is_told_what_was(tmp_path: Path, server: Client) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, changed(), on_progress=interrupt_in(3))
    train(tmp_path, changed(trackers=("mlflow",)))
    assert server.runs["id-0"]["epochs"] == expected(tmp_path)


def test_epochs_that_are_trained_again_begin_another_tracked_run(tmp_path: Path, server: Client) -> None:
    config = changed(trackers=("mlflow",))
    train(tmp_path, config)
    known = json.loads((tmp_path / "trackers.json").read_text())
    assert known == {"mlflow": {"id": "id-0", "epochs": 3, "ended": True}}
    known["mlflow"] |= {"epochs": 4, "ended": False}  # the newest state was damaged, and the one before taken
    (tmp_path / "trackers.json").write_text(json.dumps(known))
    train(tmp_path, config)
    assert server.runs["id-1"]["epochs"] == expected(tmp_path)


def test_a_tracker_that_fails_ends_no_training(tmp_path: Path, server: Client) -> None:
    train(tmp_path / "alone", changed())
    server.fails_at = len(expected(tmp_path / "alone")[1]) + 3  # within the second epoch
    said: list[str] = []
    train(tmp_path / "told", changed(trackers=("mlflow",)), on_message=said.append)
    assert metrics(tmp_path / "told") == metrics(tmp_path / "alone")
    assert weights(tmp_path / "told") == weights(tmp_path / "alone")
    about = [text for text in said if "mlflow" in text]
    assert len(about) == 1
    assert "ConnectionError: the server is gone)" in about[0]
    assert server.calls == server.fails_at  # it was asked no more


def test_a_tracked_run_that_is_gone_is_told_with_what_to_do(tmp_path: Path, server: Client) -> None:
    """Its database was deleted, or the run in it."""
    run, said, settings = tmp_path / "run", list[str](), changed(trackers=("mlflow",))
    with pytest.raises(KeyboardInterrupt):
        train(run, settings, on_progress=interrupt_in(2))
    server.runs.clear()
    train(run, settings, on_message=said.append)
    (told,) = (line for line in said if "mlflow" in line)
    assert told.startswith(f"mlflow failed ({tmp_path}/mlflow.db has no run id-0 any more; put that back, or delete ")
    assert not server.runs
    (run / "trackers.json").unlink()
    train(run, settings)
    assert server.runs["id-0"]["epochs"] == expected(run)


def test_damaged_metrics_end_no_training(tmp_path: Path, server: Client) -> None:
    config, said = changed(trackers=("mlflow",)), list[str]()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config, on_progress=interrupt_in(3))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("?\n" + lines[1])
    train(tmp_path, config, on_message=said.append)
    assert [text for text in said if "trackers are not told" in text and "line 1" in text]
    assert sorted(server.runs["id-0"]["epochs"]) == [1, 2]
    assert weights(tmp_path)


def test_a_damaged_note_is_refused_before_the_first_step(tmp_path: Path, server: Client) -> None:
    (tmp_path / "trackers.json").write_text('{"mlflow": 3}')
    with pytest.raises(TrainingError, match=r"trackers\.json: damaged"):
        train(tmp_path, changed(trackers=("mlflow",)))
    assert not (tmp_path / "metrics.jsonl").read_text()


# The libraries themselves -----------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("default")  # the library's own
@pytest.mark.parametrize("place", ["sqlite", "files"])
def test_mlflow_has_the_run(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own database beside the run, and in the folder of files that a user names."""
    from mlflow import MlflowClient

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    if place == "files":
        uri = (tmp_path / "files").as_uri()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions want to be asked for it
    folder, config = tmp_path / "runs" / "one", changed(trackers=("mlflow",))
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(folder, config, on_progress=interrupt_in(3), on_message=said.append)
    assert not [text for text in said if "failed" in text]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("dvs-transfer")
    (stopped,) = client.search_runs([experiment.experiment_id])
    assert stopped.info.status == "KILLED"
    train(folder, config, on_message=said.append)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (stopped.info.run_id, "one", "FINISHED")
    assert run.data.params.items() >= {"train.epochs": "3", "train.loss.tet": "True"}.items()
    lines = expected(folder)
    for name in lines[1]:
        found = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert sorted(found) == [(epoch, line[name]) for epoch, line in lines.items()], name
    listed = [*client.list_artifacts(run.info.run_id), *client.list_artifacts(run.info.run_id, "checkpoints")]
    assert {item.path for item in listed if not item.is_dir} == FILES
    assert not [text for text in said if "failed" in text]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("default")  # the library's own
def test_wandb_has_the_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    folder, config = tmp_path / "one", changed(trackers=("wandb",))
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(folder, config, on_progress=interrupt_in(3), on_message=said.append)
    train(folder, config, on_message=said.append)
    assert not [text for text in said if "failed" in text]
    id = json.loads((folder / "trackers.json").read_text())["wandb"]["id"]
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert [file.name for file in files] == [f"run-{id}.wandb"] * 2
    records = [record for file in files for record in read_records(file)]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert {(run.run_id, run.project, run.display_name) for run in runs} == {(id, "dvs-transfer", "one")}
    assert {run.host for run in runs} == {"-"}
    parameters = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert parameters.items() >= {"train.epochs": 3, "train.seed": 42}.items()
    told = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    rows = [{item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row.item} for row in told]
    lines = expected(folder)
    assert [{name: row[name] for name in lines[1]} for row in rows] == list(lines.values())
    assert [row["_step"] for row in rows] == [1, 2, 3]
    kinds = [record.WhichOneof("record_type") for record in records]
    assert not {"environment", "stats", "output"} & set(kinds)  # of this machine
    (kept,) = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    entries = {entry.path: entry for entry in kept.manifest.contents}
    assert set(entries) == FILES
    for name, entry in entries.items():
        assert entry.digest == base64.b64encode(hashlib.md5((folder / name).read_bytes()).digest()).decode()
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def read_records(file: Path) -> list[Any]:
    """The messages in a file of W&B's: after 7 bytes, records as LevelDB's log has them, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    content, at, found, parts = file.read_bytes(), 7, [], b""
    while at + 7 <= len(content):
        if 32_768 - at % 32_768 < 7:  # no place for a header: zeros to the block's end
            at += 32_768 - at % 32_768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)  # after a checksum
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole of a message, or its last part
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found

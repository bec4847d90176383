"""Which runs make a method, and which cannot be compared: from run folders that were evaluated, without data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evaluations import evaluation_of

from dvs_transfer.cache.errors import ConfigError, TrainingError
from dvs_transfer.pipeline.config import validate_config
from dvs_transfer.pipeline.results import compare_runs
from dvs_transfer.stages.evaluation.results import Predictions, weights_digest, write_results

CLASS_NAMES = ("ant", "bee")
PREDICTIONS = Predictions(("ant/1", "ant/2", "bee/1"), ("ant", "ant", "bee"), ("ant", "bee", "bee"))
SOURCES = {"events": {"source": "ncaltech101", "raw": "a"}, "images": {"source": "caltech101", "raw": "b"}}


def make_run(
    folder: Path,
    pairs: str = "pairs.zarr",
    name: str = "x",
    imported: bool = False,
    subset_seed: int | None = None,
    **train: Any,
) -> Path:
    """An evaluated run with these training settings."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.safetensors").write_bytes(folder.name.encode())
    document = {"name": name, **SOURCES, "train": train, "pairing": {"subset_seed": subset_seed}}
    config = validate_config(document, "test").model_dump(mode="json")
    document = {"imported": "model_best.pth.tar"} if imported else {"experiment": config}
    (folder / "config.json").write_text(json.dumps({**document, "pairs": f"/nowhere/{pairs}"}))
    report = evaluation_of(PREDICTIONS, CLASS_NAMES, weights_digest=weights_digest(folder, "best"))
    write_results(folder, report, PREDICTIONS)
    return folder


def methods_of(*runs: Path, **options: Any) -> dict[str, list[Path]]:
    return {result.method: list(result.runs) for result in compare_runs(runs, **options).methods}


def test_runs_that_differ_in_the_seed_alone_are_one_method(tmp_path: Path) -> None:
    a = [make_run(tmp_path / f"a{seed}", seed=seed) for seed in (7, 42)]
    b = [make_run(tmp_path / f"b{seed}", seed=seed, loss={"alignment_weight": 0}) for seed in (42, 7)]
    assert methods_of(a[0], b[0], a[1], b[1]) == {
        "train.loss.alignment_weight=0.5": [a[0], a[1]],
        "train.loss.alignment_weight=0.0": [b[1], b[0]],
    }


def test_what_does_not_change_the_result_makes_no_method(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", seed=1), make_run(tmp_path / "b", name="other", seed=2, threads=3, device="cpu")]
    assert methods_of(*runs) == {"train.method=transfer": runs}


def test_a_method_is_named_by_all_that_is_its_own(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", epochs=50, method="events")
    b, c = make_run(tmp_path / "b", epochs=50), make_run(tmp_path / "c", batch_size=30, epochs=50)
    assert set(methods_of(a, b, c)) == {
        f"train.method={method}, train.batch_size={size}"
        for method, size in (("events", 120), ("transfer", 120), ("transfer", 30))
    }


def test_runs_of_older_versions_have_the_defaults_of_newer_settings(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", seed=1), make_run(tmp_path / "b", seed=2)]
    document = json.loads((runs[0] / "config.json").read_text())
    del document["experiment"]["train"]["precision"], document["experiment"]["pairing"]
    (runs[0] / "config.json").write_text(json.dumps(document))
    assert len(methods_of(*runs)) == 1


def test_imported_weights_are_a_method_each(tmp_path: Path) -> None:
    ours = make_run(tmp_path / "ours")
    published = [make_run(tmp_path / name, imported=True) for name in ("one", "two")]
    methods = methods_of(ours, *published)
    assert methods == {"train.method=transfer": [ours], **{f"imported {run}": [run] for run in published}}


def test_the_baseline_is_the_first_run_s_method_or_the_one_named(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", method="events")
    assert compare_runs([a, b]).differences[0].baseline == "train.method=transfer"
    assert compare_runs([a, b], baseline=tmp_path / "x" / ".." / "b").differences[0].baseline == "train.method=events"
    with pytest.raises(TrainingError, match=rf"{tmp_path}/c: the baseline is not one of the runs to compare: {a}, {b}"):
        compare_runs([a, b], baseline=tmp_path / "c")


def test_the_same_run_or_seed_twice(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    (tmp_path / "link").symlink_to(a)
    with pytest.raises(TrainingError, match=rf"{a} and {tmp_path}/link are the same run; name each run once"):
        compare_runs([a, tmp_path / "link"])
    with pytest.raises(TrainingError, match=rf"{a} and {b} have the same settings and seed 42; name one of them"):
        compare_runs([a, b])
    with pytest.raises(TrainingError, match="no runs to compare"):
        compare_runs([])


def test_the_same_settings_on_other_data(tmp_path: Path) -> None:
    runs = make_run(tmp_path / "a"), make_run(tmp_path / "b", pairs="other.zarr")
    with pytest.raises(TrainingError, match=r"a and .*/b have the same settings and other data \(pairs.zarr and other"):
        compare_runs(runs)


@pytest.mark.parametrize("seeds", [(1,), (1, 3), (1, 2, 3)])
def test_methods_of_other_seeds(seeds: tuple[int, ...], tmp_path: Path) -> None:
    a = [make_run(tmp_path / f"a{seed}", seed=seed) for seed in (1, 2)]
    b = [make_run(tmp_path / f"b{seed}", seed=seed, method="events") for seed in seeds]
    says = (
        rf"transfer has 2 \(1, 2: {a[0]}, {a[1]}\); train.method=events has {len(b)} \({', '.join(map(str, seeds))}: "
    )
    with pytest.raises(TrainingError, match=says):
        compare_runs([*a, *b])


def test_draws_of_labels_are_one_method_each_on_its_own_data(tmp_path: Path) -> None:
    runs = {
        method: [
            make_run(tmp_path / f"{method}{k}", pairs=f"pairs{k}.zarr", subset_seed=k, seed=k, method=method)
            for k in (1, 2, 3)
        ]
        for method in ("transfer", "events")
    }
    report = compare_runs([*reversed(runs["transfer"]), *runs["events"]])
    assert [list(method.runs) for method in report.methods] == [runs["transfer"], runs["events"]]
    assert {(method.seeds, method.subset_seeds) for method in report.methods} == {((1, 2, 3), (1, 2, 3))}
    assert report.differences[0].checkpoints["best"].top1.draws is not None
    extra = make_run(tmp_path / "extra", pairs="pairs1.zarr", subset_seed=1, seed=9)
    assert methods_of(extra, *runs["transfer"]) == {"train.method=transfer": [*runs["transfer"], extra]}
    with pytest.raises(TrainingError, match=r"extra and .*/other have the same settings and other data"):
        compare_runs([extra, make_run(tmp_path / "other", pairs="pairs2.zarr", subset_seed=1, seed=10)])
    with pytest.raises(TrainingError, match=r"the same settings and seed 9 with subset_seed 1; name one of them"):
        compare_runs([extra, make_run(tmp_path / "again", pairs="pairs1.zarr", subset_seed=1, seed=9)])
    with pytest.raises(TrainingError, match=r"events has 3 \(1, 2, 3 with subset_seed 1, 2, 3: "):
        compare_runs([*runs["transfer"][:2], *runs["events"]])


def test_lone_runs_are_paired_whatever_their_seeds(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", seed=1), make_run(tmp_path / "b", seed=2, method="events")]
    assert len(methods_of(*runs)) == 2


def test_runs_that_cannot_be_read_are_named_before_any_is_evaluated(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", method="events")
    (a / "evaluation-test.json").unlink()  # would be evaluated, and its data are nowhere
    (b / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(TrainingError, match=rf"{b}/checkpoints/best\.safetensors: no such checkpoint"):
        compare_runs([a, b])
    document = json.loads((b / "config.json").read_text())
    (b / "config.json").write_text(json.dumps({**document, "experiment": {"train": {"epoch": 5}}}))
    with pytest.raises(ConfigError, match=rf"{b}/config\.json: \d problems in the configuration"):
        compare_runs([a, b])
    with pytest.raises(TrainingError, match=rf"{tmp_path}/c: no run here"):
        compare_runs([a, tmp_path / "c"])

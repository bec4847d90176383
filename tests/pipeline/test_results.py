"""Which runs make a method, and which cannot be compared: from run folders that were evaluated, without data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluations import evaluation_of
from tiny import RAW

from dvs_transfer.cache.errors import ConfigError, StoreError, TrainingError
from dvs_transfer.cache.pairs import PairDescription, PairPlan, StoreReference, write_pairs
from dvs_transfer.pipeline.config import ExperimentConfig, validate
from dvs_transfer.pipeline.results import compare_runs
from dvs_transfer.stages.evaluation.predictions import Predictions
from dvs_transfer.stages.evaluation.results import write_results
from dvs_transfer.stages.runs.checkpoint import weights_digest

CLASS_NAMES = ("ant", "bee")
PREDICTIONS = Predictions(("ant/1", "ant/2", "bee/1"), ("ant", "ant", "bee"), ("ant", "bee", "bee"))


def make_run(
    folder: Path,
    pairs: str | Path = "pairs.zarr",
    name: str = "x",
    imported: bool = False,
    subset_seed: int | None = None,
    pairing: dict[str, Any] | None = None,
    **train: Any,
) -> Path:
    """An evaluated run with these training settings."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.safetensors").write_bytes(folder.name.encode())
    document = {"name": name, **RAW, "train": train, "pairing": {"subset_seed": subset_seed, **(pairing or {})}}
    config = validate(ExperimentConfig, document, "test").model_dump(mode="json")
    document = {"imported": "model_best.pth.tar"} if imported else {"experiment": config}
    (folder / "config.json").write_text(json.dumps({**document, "pairs": str(Path("/nowhere", pairs))}))
    report = evaluation_of(PREDICTIONS, CLASS_NAMES, weights_digest=weights_digest(folder, "best"))
    write_results(folder, report, PREDICTIONS)
    return folder


def make_pairs(folder: Path, subset_seed: int, **others: str | None) -> Path:
    """A pair store of stores that are nowhere."""
    names = {"events": "e.zarr", "images": "i.zarr", "recorded": "r.zarr", **others}
    parts: dict[str, Any] = {
        part: None if name is None else StoreReference(name=name, fingerprint=name) for part, name in names.items()
    }
    description = PairDescription(**parts, pairing={"subset_seed": subset_seed}, split_digest="0")
    plan = PairPlan(np.zeros(1, np.int8), *(np.zeros(1, np.int64) for _ in range(5)))
    return write_pairs(folder, "pairs", description, plan, CLASS_NAMES)


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


def test_a_setting_that_earlier_versions_lack_is_named_with_its_default(tmp_path: Path) -> None:
    plain, averaged = make_run(tmp_path / "a"), make_run(tmp_path / "b", average=0.9)
    assert set(methods_of(plain, averaged)) == {"train.average=0.0", "train.average=0.9"}


def test_a_camera_that_is_not_used_names_no_method(tmp_path: Path) -> None:
    saccade = make_run(tmp_path / "a", encoding="saccade", method="mixture", options={"share": 0.9})
    value = make_run(tmp_path / "b", saccade={"inverted": True})
    assert set(methods_of(saccade, value)) == {
        "train.method=mixture, train.options.share=0.9, train.encoding=saccade",
        "train.method=transfer, train.encoding=value",
    }
    other = make_run(tmp_path / "c", encoding="saccade", saccade={"inverted": True})
    assert set(methods_of(make_run(tmp_path / "d", encoding="saccade"), other)) == {
        "train.saccade.inverted=false",
        "train.saccade.inverted=true",
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


@pytest.mark.parametrize(("seeds", "common"), [((1,), 1), ((1, 3), 1), ((1, 2, 3), 2), ((3, 4), 0)])
def test_methods_of_other_seeds_are_compared_over_those_that_both_have(
    seeds: tuple[int, ...], common: int, tmp_path: Path
) -> None:
    a = [make_run(tmp_path / f"a{seed}", seed=seed) for seed in (1, 2)]
    b = [make_run(tmp_path / f"b{seed}", seed=seed, method="events") for seed in seeds]
    report = compare_runs([*a, *b])
    assert [method.seeds for method in report.methods] == [(1, 2), seeds]
    assert len(report.differences) == (1 if common else 0)
    assert any(f": {common} of its {len(b)} draws are the baseline's too" in note for note in report.notes)


def test_draws_of_labels_are_one_method_each_on_its_own_data(tmp_path: Path) -> None:
    pairs = {k: make_pairs(tmp_path, k) for k in (1, 2, 3)}
    runs = {
        method: [
            make_run(tmp_path / f"{method}{k}", pairs=pairs[k], subset_seed=k, seed=k, method=method) for k in (1, 2, 3)
        ]
        for method in ("transfer", "events")
    }
    report = compare_runs([*reversed(runs["transfer"]), *runs["events"]])
    assert [list(method.runs) for method in report.methods] == [runs["transfer"], runs["events"]]
    assert {(method.seeds, method.subset_seeds) for method in report.methods} == {((1, 2, 3), (1, 2, 3))}
    assert report.differences[0].checkpoints["best"].top1.draws is not None
    extra = make_run(tmp_path / "extra", pairs=pairs[1], subset_seed=1, seed=9)
    assert methods_of(extra, *runs["transfer"]) == {"train.method=transfer": [*runs["transfer"], extra]}
    with pytest.raises(TrainingError, match=r"extra and .*/other have the same settings and other data"):
        compare_runs([extra, make_run(tmp_path / "other", pairs=pairs[2], subset_seed=1, seed=10)])
    with pytest.raises(TrainingError, match=r"the same settings and seed 9 with subset_seed 1; name one of them"):
        compare_runs([extra, make_run(tmp_path / "again", pairs=pairs[1], subset_seed=1, seed=9)])
    partly = compare_runs([*runs["transfer"][:2], *runs["events"]])
    assert any(": 2 of its 3 draws are the baseline's too" in note for note in partly.notes)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"images": "j.zarr"}, r"other images \(i\.zarr and j\.zarr\)"),
        ({"images": None}, r"other images \(i\.zarr and none\)"),
        ({"events": "f.zarr"}, r"other recordings \(e\.zarr and f\.zarr\)"),
        ({"recorded": None}, r"other recordings of the images \(r\.zarr and none\)"),
    ],
)
def test_draws_of_labels_of_other_data_are_no_draws_of_one_method(
    other: dict[str, Any], says: str, tmp_path: Path
) -> None:
    a = make_run(tmp_path / "a", pairs=make_pairs(tmp_path, 1), subset_seed=1, seed=1)
    b = make_run(tmp_path / "b", pairs=make_pairs(tmp_path, 2, **other), subset_seed=2, seed=2)
    for runs in ((a, b), (b, a)):
        with pytest.raises(TrainingError, match=rf"{a} and {b} have the same settings and {says}; compare"):
            compare_runs(runs)


def test_whether_draws_of_labels_are_of_the_same_data_cannot_be_told_without_them(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"{k}", pairs=f"pairs{k}.zarr", subset_seed=k, seed=k) for k in (1, 2)]
    with pytest.raises(StoreError, match=r"/nowhere/pairs1\.zarr: no such store"):
        compare_runs(runs)


def test_other_image_classes_make_another_method_in_either_order(tmp_path: Path) -> None:
    maps = ({}, {"ant": "Ant"}, {"ant": "Ant", "bee": "Bee"})
    runs = [
        make_run(tmp_path / f"{index}", pairing={"image_classes": chosen}, seed=1) for index, chosen in enumerate(maps)
    ]
    key = "pairing.image_classes"
    names = [f"{key}={{}}", f"{key}.ant=Ant", f"{key}.ant=Ant, {key}.bee=Bee"]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        assert methods_of(*(runs[index] for index in order)) == {names[index]: [runs[index]] for index in order}
    assert set(methods_of(*runs[1:])) == {f"{key}.bee=null", f"{key}.bee=Bee"}


def test_images_that_are_shown_otherwise_make_another_method_of_those_that_see_them(tmp_path: Path) -> None:
    runs = []
    for order in ("after_resize", "before_resize"):
        for method in ("events", "transfer"):
            run = make_run(tmp_path / f"{order} {method}", seed=len(runs), method=method)
            document = json.loads((run / "config.json").read_text())
            document["experiment"]["images"]["value_order"] = order
            (run / "config.json").write_text(json.dumps(document))
            runs.append(run)
    assert methods_of(*runs) == {
        "train.method=events": [runs[0], runs[2]],
        "train.method=transfer, images.value_order=after_resize": [runs[1]],
        "train.method=transfer, images.value_order=before_resize": [runs[3]],
    }


def test_other_code_makes_another_method(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, seed=seed, method="mine:Own") for seed, name in enumerate("abc")]
    for run, code in zip(runs, ("one", "other", "other"), strict=True):
        document = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps({**document, "code": {"method": code}}))
    assert methods_of(*runs) == {"code.method=one": runs[:1], "code.method=other": runs[1:]}
    before = make_run(tmp_path / "before", seed=4, method="mine:Own")  # when nothing was kept of it
    assert list(methods_of(before, *runs[1:]).values()) == [[*runs[1:], before]]


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

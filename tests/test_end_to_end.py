"""From raw data to a trained network and its report, by the commands that a user types."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import refuse, run_command, snapshot, succeed
from gallery_page import Gallery
from html_page import Page
from PIL import Image
from tiny import DEMO, write_config

from dvs_transfer import compare_runs, evaluate
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.pipeline.progress import to_document

FOUR_PAIRS = {"demo": {"pairs_per_class": 4}, "conversion": {"samples_per_shard": 16}}
CEPDVS = [
    *("--set", 'events.source="cepdvs"', "--set", 'events.raw="demo/CEP-DVS"'),
    *("--set", 'images.source="cepdvs-images"', "--set", 'images.raw="demo/CEP-DVS"'),
    *("--set", "images.value_order=before_resize", "--set", "pairing.train=0.5"),
    *("--set", "pairing.validation=0.25", "--set", "pairing.test=0.25"),
]


@dataclass(frozen=True)
class Experiment:
    """A finished experiment: its folders, and what the commands reported."""

    root: Path
    config: Path
    preprocessed: Any
    trained: Any
    evaluated: Any

    @property
    def cache(self) -> Path:
        return self.root / "data" / "cache"

    @property
    def run(self) -> Path:
        return Path(self.trained["run"])

    def command(self, name: str, *arguments: str | Path) -> list[str | Path]:
        """Beside a run, a path, no configuration is read."""
        config = () if arguments and isinstance(arguments[0], Path) else ("--config", self.config)
        return ["--quiet", "--root", self.root, name, *config, *arguments]


def do_all(root: Path, config: Path, *overrides: str) -> Experiment:
    """Preprocess, train and evaluate, quietly."""
    outcomes = [
        succeed("--quiet", "--root", root, name, "--config", config, *overrides, "--json")
        for name in ("preprocess", "train", "evaluate")
    ]
    assert [outcome.err for outcome in outcomes] == ["", "", ""]
    return Experiment(root, config, *(outcome.document for outcome in outcomes))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The demo in a folder with a space and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("wörk space")
    return do_all(folder / "the röot", write_config(folder, DEMO, FOUR_PAIRS))


def pictures_below(folder: Path) -> dict[str, int]:
    """Every PNG below a folder with its number of frames; each is decoded."""
    frames = {}
    for path in folder.rglob("*.png"):
        with Image.open(path) as picture:
            frames[path.name] = picture.n_frames  # type: ignore[attr-defined]
            for frame in range(frames[path.name]):
                picture.seek(frame)
                picture.load()
    return frames


def test_preprocess_makes_the_demo_s_stores(demo: Experiment) -> None:
    made = demo.preprocessed
    assert (made["demo"]["num_photos"], made["demo"]["num_pairs"]) == (50, 40)
    assert (made["events"]["was_built"], made["images"]["was_built"]) == (True, True)
    assert (made["events"]["num_samples"], made["events"]["quarantined"]) == (50, {})
    assert made["events"]["num_events"] == made["demo"]["num_events"] > 10_000
    pairs = made["pairs"]
    assert (pairs["num_train"], pairs["num_validation"], pairs["num_test"]) == (30, 10, 10)
    assert (pairs["num_with_photo"], pairs["num_pool"]) == (50, 30)
    stores = succeed("--root", demo.root, "cache", "ls", "--json").document
    assert {entry["state"] for entry in stores} == {"events", "images", "pairs"}
    assert succeed("--root", demo.root, "cache", "verify").out.count(": whole") == 3


def test_preprocess_again_does_nothing(demo: Experiment) -> None:
    before = snapshot(demo.root / "data")
    again = succeed(*demo.command("preprocess"), "--json").document
    assert again["demo"]["up_to_date"]
    assert (again["events"]["was_built"], again["images"]["was_built"]) == (False, False)
    assert again["pairs"] == demo.preprocessed["pairs"]
    after = snapshot(demo.root / "data")
    assert after.keys() == before.keys()
    files = [name for name in before if "recipes" not in name and (demo.root / "data" / name).is_file()]
    assert len(files) > 100
    assert {name: after[name] for name in files} == {name: before[name] for name in files}


def test_train_again_has_nothing_left_to_do(demo: Experiment) -> None:
    files = {path: path.read_bytes() for path in demo.run.rglob("*") if path.is_file()}
    again = succeed(*demo.command("train"), "--json").document
    assert (demo.trained["resumed_after"], again["resumed_after"]) == (0, 2)
    changing = {"seconds": 0, "resumed_after": 0}
    assert again | changing == demo.trained | changing
    assert {path: path.read_bytes() for path in demo.run.rglob("*") if path.is_file()} == files


def test_evaluate_writes_what_it_prints(demo: Experiment) -> None:
    written = json.loads((demo.run / "evaluation-test.json").read_text())
    assert {key: demo.evaluated[key] for key in written} == written
    assert demo.evaluated["split_digest"] == demo.trained["split_digest"] == demo.preprocessed["pairs"]["split_digest"]
    with (demo.run / "predictions-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == written["num_samples"] == 10
    right = sum(row["class"] == row["predicted"] for row in rows)
    assert right / len(rows) == pytest.approx(written["top1"])
    assert 0 <= written["top1"] <= written["top5"] <= 1


def test_the_other_split_is_an_option(demo: Experiment) -> None:
    validation = succeed(*demo.command("evaluate", "--split", "validation"), "--json").document
    assert validation["split"] == "validation"
    assert validation["top1"] == pytest.approx(demo.trained["best_accuracy"])


def test_pictures_are_whole(demo: Experiment) -> None:
    previews = pictures_below(demo.cache / "previews")
    name = Path(demo.preprocessed["pairs"]["path"]).stem
    assert previews == {f"{name}.png": 1, f"{name}-animated.png": 3}


def test_the_report_has_the_numbers_that_evaluate_prints(demo: Experiment) -> None:
    made = succeed(*demo.command("report"), "--json").document
    assert Path(made["page"]) == demo.run / "report" / "report.html"
    page = Page(Path(made["page"]).read_text())
    assert made["num_bytes"] == len(page.content.encode())
    assert page.loaded == []
    best, last = demo.evaluated, demo.evaluated["last"]

    def cell(of: dict[str, Any], name: str) -> str:
        low, high = of[f"{name}_interval"]
        few = '<span class="tag">few</span>'
        return f"<td>{100 * of[name]:.1f} % <small>[{100 * low:.1f} to {100 * high:.1f} % {few}]</small></td>"

    top5 = [f"<td>{100 * of['top5']:.1f} %</td>" for of in (last, best)]
    for shown, cells in (  # few validation recordings chose the best epoch: the last one comes first
        ("top-1", [cell(of, "top1") for of in (last, best)]),
        ("mean per-class accuracy", [cell(of, "mean_class_accuracy") for of in (last, best)]),
        ("expected calibration error", ["<td>-</td>", f"<td>{100 * best['calibration_error']:.1f} %</td>"]),
    ):
        assert f'<th scope="row">{shown}</th>{"".join(cells)}' in page.content
    assert f'<th scope="row">top-5</th>{"".join(top5)}' in page.content
    assert ", ".join(f"{value:.4g}" for value in best["top1_after_step"]) in page.content
    assert demo.evaluated["epoch_choice"] in page.text
    assert demo.evaluated["split_digest"][:12] in page.text
    assert "The recordings are simulated: drawn shapes before a simulated camera." in page.text
    assert " of 10 simulated recordings, " in succeed(*demo.command("evaluate")).out


def test_preview_prints_its_files(demo: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "ein Bild.png"
    for store in ("events", "images", "pairs"):
        printed = succeed("preview", demo.preprocessed[store]["path"], "--out", out, "--samples", "2").out
        assert printed.splitlines()[0] == str(out)
        assert pictures_below(tmp_path).keys() == {Path(line).name for line in printed.splitlines()}
        for path in tmp_path.iterdir():
            path.unlink()


def test_the_gallery_shows_what_the_run_named(demo: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "gallery.html"
    succeed("preview", demo.preprocessed["pairs"]["path"], "--html", "--run", demo.run, "--out", out)
    with (demo.run / "predictions-test.csv").open(newline="") as file:
        named = {row["sample_id"]: (row["class"], row["predicted"], "test") for row in csv.DictReader(file)}
    recordings = Gallery(out).recordings
    assert {
        name: (entry["class"], entry["named"], entry["split"])
        for name, entry in recordings.items()
        if entry["split"] == "test"
    } == named
    assert Gallery(out).page.loaded == []


def test_the_environment_names_the_root(demo: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVS_TRANSFER_ROOT", str(demo.root))
    again = succeed("--quiet", "evaluate", "--config", demo.config, "--json").document
    assert again == demo.evaluated
    assert succeed("doctor", "--json").document["root"] == str(demo.root)


def test_whoever_reads_the_cache_writes_nothing_into_it(demo: Experiment, tmp_path: Path) -> None:
    """As for a cache that is somebody else's; its folder's own time of change tells of files that came and went."""
    run = tmp_path / "run"
    before, folder = snapshot(demo.cache), demo.cache.stat().st_mtime_ns
    succeed(*demo.command("train", "--run", run, "--set", "train.epochs=1"))
    succeed(*demo.command("evaluate", run))
    succeed(*demo.command("report", run))
    for store in ("events", "images", "pairs"):
        info = succeed("cache", "info", demo.preprocessed[store]["path"], "--json").document
        assert (info["kind"], info["schema_version"]) == (store, 1)
    succeed("preview", demo.preprocessed["pairs"]["path"], "--out", tmp_path / "a.png")
    succeed("--root", demo.root, "cache", "verify")
    succeed("--root", demo.root, "cache", "ls")
    succeed("--root", demo.root, "cache", "prune", "--unused", "--dry-run")
    assert (snapshot(demo.cache), demo.cache.stat().st_mtime_ns) == (before, folder)


def test_prune_finds_nothing_in_a_tidy_cache(demo: Experiment) -> None:
    before = snapshot(demo.cache)
    assert succeed("--root", demo.root, "cache", "prune", "--unused").out == ""
    assert snapshot(demo.cache) == before


@pytest.fixture
def copy(demo: Experiment, tmp_path: Path) -> Path:
    """A copy of the run, to damage."""
    return Path(shutil.copytree(demo.run, tmp_path / "run"))


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("evaluate", "config.json"),
        ("evaluate", "checkpoints/best.safetensors"),
        ("report", "metrics.jsonl"),
        ("report", "evaluation-test.json"),
        ("report", "predictions-test.csv"),
        ("report", "stints.json"),
    ],
)
@pytest.mark.parametrize("damage", ["empty", "cut", "garbled"])
def test_damaged_runs_are_named(command: str, file: str, damage: str, demo: Experiment, copy: Path) -> None:
    path = copy / file
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "garbled": b"\x93garbled"}[damage])
    named = copy if (file, damage) == ("metrics.jsonl", "empty") else path
    refuse(*demo.command(command, copy), code=1, says=[f"error: {named}"])


def test_a_run_of_other_settings_is_not_continued(demo: Experiment, copy: Path) -> None:
    says = [f"{copy}", "train.seed is 42 there and 7 here", "start this one anew with --restart"]
    before = snapshot(copy)
    refuse(*demo.command("train", "--run", copy, "--set", "train.seed=7"), code=1, says=says)
    assert snapshot(copy) == before


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.device=cuda:99", "device 'cuda:99' is not there"),
        ('model.widths=[4, "P", "P", "P", "P", "P"]', "pools of vgg_snn leave nothing of a 16 x 16 frame"),
    ],
)
def test_training_that_cannot_start_says_why(override: str, says: str, demo: Experiment, tmp_path: Path) -> None:
    refuse(*demo.command("train", "--run", tmp_path / "run", "--set", override), code=1, says=[says])
    assert not (tmp_path / "run").exists()


def test_a_batch_is_no_larger_than_what_trains(demo: Experiment, tmp_path: Path) -> None:
    batches = [tmp_path / "capped", tmp_path / "asked"]
    capped = succeed(
        *demo.command("train", "--run", batches[0], "--set", "train.batch_size=64", "--set", "train.epochs=1")[1:]
    )
    assert "batches of 30 recordings, all that train, in place of train.batch_size = 64" in capped.err
    succeed(*demo.command("train", "--run", batches[1], "--set", "train.batch_size=30", "--set", "train.epochs=1"))
    runs = [json.loads((run / "config.json").read_text())["experiment"]["train"]["batch_size"] for run in batches]
    assert runs == [30, 30]
    assert len({(run / "checkpoints" / "last.safetensors").read_bytes() for run in batches}) == 1


def test_a_run_whose_cache_is_gone(demo: Experiment, copy: Path) -> None:
    document = json.loads((copy / "config.json").read_text())
    gone = copy.parent / "gone.zarr"
    (copy / "config.json").write_text(json.dumps(document | {"pairs": str(gone)}))
    refuse(*demo.command("evaluate", copy), code=1, says=[f"{gone}: no such store"])


def test_seeds_are_compared_and_what_is_missing_is_evaluated(demo: Experiment, tmp_path: Path) -> None:
    """Two methods of one seed each, the second not evaluated yet; then with a second seed of the first."""
    events, seed = tmp_path / "events", tmp_path / "seed 7"
    succeed(*demo.command("train", "--run", events, "--set", "train.method=events"))
    succeed(*demo.command("train", "--run", seed, "--set", "train.seed=7"))
    outcome = succeed("compare", demo.run, events, "--json")
    assert outcome.err.splitlines() == [f"evaluates {events} on its test recordings"]
    first, second = outcome.document["methods"]
    assert (first["method"], second["method"]) == ("train.method=transfer", "train.method=events")
    best = first["accuracies"]["best"]["top1"], second["accuracies"]["best"]["top1"]
    assert best[0] == {"mean": demo.evaluated["top1"], "std": None, "n": 1, "interval": None}
    (difference,) = outcome.document["differences"]
    found = difference["checkpoints"]["best"]["top1"]
    assert found["difference"] == pytest.approx(best[1]["mean"] - best[0]["mean"])
    assert (difference["verdict"], found["draws"], found["p"], found["recordings"]) == (None, None, None, None)
    report = to_document(compare_runs([demo.run, events]))
    assert report == outcome.document
    assert evaluate(events, overrides=["evaluate.threads=1"]).top1 == best[1]["mean"]
    alone = succeed("--quiet", "compare", demo.run, seed).out
    seen = f"labels seen: {demo.evaluated['train_labels']} + {demo.evaluated['selection_labels']} that chose best"
    assert f"train.method=transfer  (protocol disjoint, photos in reach: none, n = 2, seeds 7, 42; {seen})" in alone
    assert "minus" not in alone
    mixed = succeed("compare", demo.run, events, seed, "--json").document
    assert [entry["seeds"] for entry in mixed["methods"]] == [[7, 42], [42]]
    (difference,) = mixed["differences"]
    assert difference["checkpoints"]["best"]["top1"]["difference"] == pytest.approx(found["difference"])
    assert any("1 of its 1 draws are the baseline's too" in note for note in mixed["notes"])


def test_a_comparison_needs_the_cache_only_of_what_is_not_evaluated(demo: Experiment, copy: Path) -> None:
    document = json.loads((copy / "config.json").read_text())
    gone = copy.parent / "gone.zarr"
    document["experiment"]["train"]["seed"] = 7
    (copy / "config.json").write_text(json.dumps(document | {"pairs": str(gone)}))
    says = [f"{copy} and {demo.run} have the same settings and other data (gone.zarr and "]
    refuse("compare", demo.run, copy, code=1, says=says)
    document["experiment"]["train"]["method"], document["experiment"]["train"]["seed"] = "events", 42
    (copy / "config.json").write_text(json.dumps(document | {"pairs": str(gone)}))
    succeed("compare", demo.run, copy)
    (copy / "evaluation-test.json").unlink()
    says = [f"{gone}: no such store", f"the run {copy} was trained on {gone}: put it back, or make it again with"]
    refuse("compare", demo.run, copy, code=1, says=says)
    (copy / "checkpoints" / "best.safetensors").unlink()
    refuse("compare", demo.run, copy, code=1, says=[f"{copy}/checkpoints/best.safetensors: no such checkpoint"])


def test_test_recordings_are_read_by_whoever_asks_for_them_alone(
    demo: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of the event store that training, evaluation on validation recordings and their report read."""
    pairs = PairStore(demo.preprocessed["pairs"]["path"])
    test_rows, read_rows = set(pairs.rows_of("test").tolist()), set[int]()
    read = FrameStore.read

    def note(store: FrameStore, name: str, rows: Any = None) -> Any:
        if name == "frames":
            assert store.path == pairs.events.path
            read_rows.update(range(len(store)) if rows is None else rows.tolist())
        return read(store, name, rows)

    monkeypatch.setattr(FrameStore, "read", note)
    run = tmp_path / "run"
    succeed(*demo.command("train", "--run", run))
    succeed(*demo.command("evaluate", run, "--split", "validation"))
    succeed(*demo.command("report", run))
    succeed("compare", run, "--split", "validation")
    assert read_rows == {*pairs.rows_of("train").tolist(), *pairs.rows_of("validation").tolist()}
    assert not read_rows & test_rows
    succeed(*demo.command("evaluate", run))
    assert test_rows <= read_rows


def test_the_demo_s_cepdvs_data(demo: Experiment) -> None:
    made = do_all(demo.root, demo.config, *CEPDVS)
    assert made.preprocessed["demo"]["up_to_date"]
    assert made.preprocessed["events"]["source"] == "cepdvs"
    assert made.preprocessed["images"]["source"] == "cepdvs-images"
    pairs = made.preprocessed["pairs"]
    assert (pairs["num_classes"], pairs["num_with_photo"]) == (10, 40)
    assert (pairs["num_train"], pairs["num_validation"], pairs["num_test"], pairs["num_pool"]) == (20, 10, 10, 20)
    assert made.run != demo.run
    assert made.evaluated["num_samples"] == 10


def test_real_recordings_and_digits(shared_data: Path, tmp_path: Path) -> None:
    """N-MNIST taught by MNIST: no digit is the source of a recording, so they pair by class."""
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    for name in ("NMNIST", "MNIST"):
        (raw / name.lower()).symlink_to(shared_data / name)
    sizes = ["--size", "17", "--num-bins", "4", "--samples-per-shard", "512", "--json"]
    root = ["--quiet", "--root", tmp_path]
    events, images = (
        succeed(*root, "convert", source, raw / source, *sizes).document for source in ("nmnist", "mnist")
    )
    assert (events["num_samples"], events["quarantined"], images["num_samples"]) == (600, {}, 9_900)
    split = {"train": 0.5, "validation": 0.1, "test": 0.4}
    ratios = [word for name, value in split.items() for word in (f"--{name}", str(value))]
    paired = succeed(*root, "pair", events["path"], images["path"], *ratios, "--json").document
    assert (paired["num_classes"], paired["num_with_photo"], paired["num_pool"]) == (10, 0, 9_900)
    assert paired["num_train"] + paired["num_validation"] + paired["num_test"] == 600

    config = tmp_path / "nmnist.toml"
    config.write_text(
        'name = "nmnist"\n[events]\nsource = "nmnist"\nraw = "nmnist"\n[images]\nsource = "mnist"\nraw = "mnist"\n'
        "[frames]\nsize = 17\nnum_bins = 4\n[conversion]\nsamples_per_shard = 512\n[pairing]\n"
        + "".join(f"{name} = {value}\n" for name, value in split.items())
        + '[model]\nwidths = [8, "P", 16, "P"]\n'
        "[train]\nepochs = 3\nbatch_size = 20\nbase_learning_rate = 0.5\nwarmup_epochs = 1\nthreads = 1\n"
    )
    done = do_all(tmp_path, config)
    assert (done.preprocessed["events"]["was_built"], done.preprocessed["images"]["was_built"]) == (False, False)
    assert done.preprocessed["pairs"] == paired
    assert done.evaluated["num_samples"] == paired["num_test"]
    assert done.evaluated["top1"] > 0.3  # ten classes: it learns


def test_analyses_that_the_data_do_not_allow_are_left_out(demo: Experiment, copy: Path) -> None:
    told = run_command("analyse", "all", copy, "--num-recordings", "2", "--json")
    assert told.code == 0
    made = json.loads(told.out)
    assert "alignment" not in made
    assert "activity" in made
    assert "left out: alignment: this analysis needs at least" in told.err

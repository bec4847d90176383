"""Pushing and pulling through the library, against a hub on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Outcome, refuse, succeed
from hub_stand_in import TOKEN, Hub, stand_in

from dvs_transfer.cache.errors import ConfigError, StoreError
from dvs_transfer.cache.verify import verify_store
from dvs_transfer.stages.sharing.export import export
from dvs_transfer.stages.sharing.hub import HubError, pull, push

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")  # of the library's own client


def test_without_the_library_it_says_what_to_install(
    shared_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(shared_run, tmp_path / "one")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install 'dvs-transfer\[hub\]'"):
        push(tmp_path / "one", "user/one")
    with pytest.raises(ConfigError, match=r"pip install 'dvs-transfer\[hub\]'"):
        pull("user/one", tmp_path / "pulled")


@pytest.mark.parametrize("name", ["datasets/a/b/c", "a/b/c", "/a", "a/"])
def test_a_repository_s_name_has_at_most_two_parts(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected USER/NAME"):
        pull(name, tmp_path / "pulled")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
    from huggingface_hub import constants

    # The client of the other protocol for large files, which comes compiled, talks to no stand-in.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with stand_in() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.endpoint)
        yield made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_comes_back_as_it_was_pushed(shared_run: Path, tmp_path: Path, hub: Hub) -> None:
    folder = tmp_path / "one"
    export(shared_run, folder)
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nA word more.\n")  # a card may be edited
    (folder / "stray.txt").write_text("left here by somebody")
    pushed = push(folder, "user/one")
    repository = hub.repositories["models/user/one"]
    assert (repository.visibility, pushed.commit) == ("private", repository.sha)
    assert pushed.url == f"{hub.endpoint}/user/one"
    (folder / "stray.txt").unlink()
    assert repository.files == contents(folder)
    weights = [content for name, content in contents(folder).items() if name.endswith(".safetensors")]
    assert set(hub.by_lfs.values()) == set(weights)
    assert "A word more." in hub.cards[0]
    pulled = pull("user/one", tmp_path / "runs" / "theirs")
    assert contents(pulled.folder) == contents(folder)
    assert (pulled.commit, pulled.kind) == (pushed.commit, "run")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"theirs"}


def test_the_card_is_one_for_the_library(shared_run: Path, tmp_path: Path, hub: Hub) -> None:
    from huggingface_hub import DatasetCard, ModelCard

    from dvs_transfer.stages.evaluation.results import read_evaluation

    export(shared_run, tmp_path / "one", "mit")
    data = ModelCard((tmp_path / "one" / "README.md").read_text()).data
    assert (data.model_name, data.license, data.library_name) == ("one", "mit", "dvs-transfer")
    tests = [result for result in data.eval_results if result.dataset_split == "test"]
    report = read_evaluation(shared_run, "test")
    assert report.last is not None
    named = {result.metric_name: result for result in tests}
    assert named["top-1, last epoch"].metric_value == report.last.top1
    assert named["top-1, last epoch"].metric_type == "accuracy"
    assert named["top-1, last epoch"].dataset_args["split_digest"] == report.split_digest
    (pairs,) = (shared_run.parents[1] / "data" / "cache").glob("*+*.zarr")
    export(pairs, tmp_path / "frames")
    frames = DatasetCard((tmp_path / "frames" / "README.md").read_text()).data
    assert (frames.license, frames.pretty_name) == ("cc-by-4.0", "frames")


def test_stores_come_back_as_they_were_pushed(shared_pairs: Path, tmp_path: Path, hub: Hub) -> None:
    folder = tmp_path / "frames"
    export(shared_pairs, folder)
    with pytest.raises(ConfigError, match="name the repository datasets/user/frames"):
        push(folder, "user/frames")
    assert not hub.repositories
    push(folder, "datasets/user/frames", public=True)
    assert hub.repositories["datasets/user/frames"].visibility == "public"
    pulled = pull("datasets/user/frames", tmp_path / "theirs")
    assert contents(pulled.folder) == contents(folder)
    assert verify_store(pulled.folder / shared_pairs.name).is_whole
    push(folder, "datasets/user/frames")  # again: it is there
    assert hub.repositories["datasets/user/frames"].visibility == "public"


def test_other_files_of_a_repository_stay_there(shared_run: Path, tmp_path: Path, hub: Hub) -> None:
    folder = tmp_path / "one"
    export(shared_run, folder)
    push(folder, "user/one")
    hub.repositories["models/user/one"].files.update(
        {"train.py": b"import os", "weights.bin": b"pickle", ".gitattributes": b""}
    )
    pulled = pull("user/one", tmp_path / "theirs")
    assert contents(pulled.folder) == contents(folder)
    assert not [asked for asked in hub.asked if asked.endswith((".py", ".bin"))]


def test_a_file_with_other_bytes_is_refused(shared_run: Path, tmp_path: Path, hub: Hub) -> None:
    folder = tmp_path / "one"
    export(shared_run, folder)
    push(folder, "user/one")
    repository = hub.repositories["models/user/one"]
    good = repository.files["checkpoints/best.safetensors"]
    repository.files["checkpoints/best.safetensors"] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(StoreError, match=r"checkpoints/best\.safetensors missing or other"):
        pull("user/one", tmp_path / "theirs")
    assert not list(tmp_path.glob("theirs*"))
    repository.files["checkpoints/best.safetensors"] = good + b"longer"
    hub.asked.clear()
    with pytest.raises(StoreError, match=r"checkpoints/best\.safetensors missing or other"):
        pull("user/one", tmp_path / "theirs")
    assert not [asked for asked in hub.asked if "safetensors" in asked]  # known before it was fetched
    repository.files["checkpoints/best.safetensors"] = good
    assert contents(pull("user/one", tmp_path / "theirs").folder) == contents(folder)


def test_what_was_not_exported_is_refused(tmp_path: Path, hub: Hub, shared_run: Path) -> None:
    export(shared_run, tmp_path / "one")
    push(tmp_path / "one", "user/one")
    del hub.repositories["models/user/one"].files["manifest.json"]
    with pytest.raises(StoreError, match=r"holds no manifest\.json"):
        pull("user/one", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
    (tmp_path / "one" / "metrics.jsonl").write_text("")
    with pytest.raises(StoreError, match=r"metrics\.jsonl missing or other"):
        push(tmp_path / "one", "user/one")


def test_what_the_hub_refuses_is_a_message(
    shared_run: Path, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(shared_run, tmp_path / "one")
    refuse("hub", "pull", "user/nowhere", tmp_path / "theirs", code=1, says=["user/nowhere: RepositoryNotFoundError"])
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refuse("hub", "push", tmp_path / "one", "user/one", code=1, says=["user/one: ", "401"])
    with pytest.raises(HubError):
        push(tmp_path / "one", "user/one")


def test_the_commands(shared_run: Path, shared_pairs: Path, tmp_path: Path, hub: Hub) -> None:
    for what, repository in ((shared_run, "user/one"), (shared_pairs, "datasets/user/frames")):
        succeed("export", what, tmp_path / "out" / what.name)
        pushed = succeed("hub", "push", tmp_path / "out" / what.name, repository)
        assert f"{hub.endpoint}/{repository}" in pushed.out
    first: Outcome = succeed("--root", tmp_path, "hub", "pull", "user/one")
    assert first.out.splitlines()[1] == f"  {tmp_path}/runs/one"
    assert succeed("--root", tmp_path, "hub", "pull", "datasets/user/frames", "--json").document["num_files"] > 10
    assert (tmp_path / "data" / "frames" / shared_pairs.name / "zarr.json").is_file()
    listed = succeed("--root", tmp_path, "runs", "ls", "--json").document
    assert [run["state"] for run in listed] == ["evaluated"]

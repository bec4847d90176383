"""The examples of docs/plugins.md, as written, from files beside a configuration; and what is refused."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command_line import refuse, succeed
from tiny import RAW, make_workspace, write_config

from dvs_transfer.stages.network.runtime import cpu_capabilities

PAGE = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text()
SMALL = {"model": {"name": "vgg_snn_small"}, "train": {"batch_size": 4}}


def section(title: str) -> dict[str, str]:
    """The page's files under a heading, by name; the settings of the example as `settings`."""
    text = re.split(r"^## ", PAGE.split(f"## {title}\n")[1], flags=re.MULTILINE)[0]
    files = {
        code.split("\n")[0].removeprefix("# "): code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    }
    return {**files, "settings": re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[-1]}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return make_workspace(tmp_path / "root")


def write(root: Path, title: str, *changes: dict[str, Any]) -> tuple[str | Path, ...]:
    """Put an example beside the tiny configuration; returns the options that name it."""
    files = section(title)
    config = write_config(root, RAW, SMALL, tomllib.loads(files.pop("settings")), *changes)
    for name, code in files.items():
        (root / name).write_text(code)
        sys.modules.pop(name.removesuffix(".py"), None)
    return ("--quiet", "--root", root), ("--config", config, "--json")  # type: ignore[return-value]


def run_all(root: Path, title: str, *changes: dict[str, Any]) -> dict[str, object]:
    before, after = write(root, title, *changes)
    return {name: succeed(*before, name, *after).document for name in ("preprocess", "train", "evaluate")}  # type: ignore[misc]


def test_a_network(workspace: Path) -> None:
    more = {"pairing": {"train": 0.4, "validation": 0.4}}  # recordings that are analysed
    trained = run_all(workspace, "A network", more)["train"]
    assert trained["num_parameters"] == (25 * 2 + 1) * 8 + (8 * 16 + 1) * 2 + 3  # type: ignore[index]
    before, after = ("--quiet", "--root", workspace), ("--config", workspace / "tiny.toml", "--json")
    analyses = succeed(*before, "analyse", "all", *after, "--num-recordings", "8").document
    assert {"alignment", "embedding", "landscape"} == set(analyses)
    assert analyses["alignment"]["report"]["layers"] == ["aligned features"]
    run = Path(trained["run"])  # type: ignore[index]
    for name, says in (("activity", "built-in networks"), ("grad-cam", "none of this network's layers")):
        refuse(*before, "analyse", name, run, code=1, says=[says])
    says = ["int8 is for vgg_snn"] if cpu_capabilities() & {"avx512_vnni", "avx_vnni"} else ["int8 needs a CPU"]
    refuse(*before, "evaluate", *after[:2], "--set", "evaluate.precision=int8", code=1, says=says)
    succeed(*before, "report", run, "--out", workspace / "page.html")

    code = (workspace / "leaky.py").read_text()
    (workspace / "leaky.py").write_text(code.replace("beta=0.9", "beta=0.8"))
    sys.modules.pop("leaky")  # as a new process, which a command is
    other = succeed(*before, "train", *after).document
    assert other["run"] != trained["run"]  # type: ignore[index]
    refuse(*before, "train", "--run", run, *after, code=1, says=["other settings", "code.network"])


def test_a_changed_network_is_told_or_does_not_fit_its_weights(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_all(workspace, "A network")
    assert "has changed" not in caplog.text
    before = ("--quiet", "--root", workspace)
    run = next((workspace / "runs").iterdir())
    code = (workspace / "leaky.py").read_text()
    (workspace / "leaky.py").write_text(code.replace("beta=0.9", "beta=0.8"))
    sys.modules.pop("leaky")
    succeed(*before, "evaluate", run)
    assert "the code of leaky:Network has changed since these weights were trained" in caplog.text
    (workspace / "leaky.py").write_text(code.replace("self.conv", "self.convolution"))
    sys.modules.pop("leaky")
    refuse(*before, "evaluate", run, code=1, says=["do not fit the network that it names", "backbone.module.conv"])
    (workspace / "leaky.py").unlink()
    sys.modules.pop("leaky")
    refuse(*before, "evaluate", run, code=1, says=["leaky:Network: cannot be imported"])


def test_a_network_edited_while_it_trains(workspace: Path) -> None:
    """What trained is the code that was read at the start, and so is what the run is known by."""
    before, after = write(workspace, "A network")
    edit = '__import__("pathlib").Path(__file__).write_text("# edited")'
    code = (
        (workspace / "leaky.py").read_text().replace("        logits = []\n", f"        logits = []\n        {edit}\n")
    )
    (workspace / "leaky.py").write_text(code)
    succeed(*before, "preprocess", *after)
    run = succeed(*before, "train", *after).document["run"]
    assert (workspace / "leaky.py").read_text() != code
    (workspace / "leaky.py").write_text(code)
    assert succeed(*before, "train", *after).document["run"] == run


def test_a_method(workspace: Path) -> None:
    trained = run_all(workspace, "A method")["train"]
    assert trained["num_images"] > 0  # type: ignore[index]


def test_a_changed_method_is_another_run(workspace: Path) -> None:
    first = run_all(workspace, "A method")["train"]
    code = (workspace / "distillation.py").read_text()
    (workspace / "distillation.py").write_text(code.replace("temperature**2", "temperature"))
    sys.modules.pop("distillation")
    before, after = ("--quiet", "--root", workspace), ("--config", workspace / "tiny.toml", "--json")
    second = succeed(*before, "train", *after).document
    assert second["run"] != first["run"]  # type: ignore[index]
    codes = [json.loads(Path(run["run"], "config.json").read_text())["code"] for run in (first, second)]  # type: ignore[index]
    assert codes[0].keys() == codes[1].keys() == {"method"}
    assert codes[0] != codes[1]
    refuse(*before, "train", "--run", first["run"], *after, code=1, says=["other settings", "code.method"])  # type: ignore[index]


def test_a_run_is_named_by_the_code_that_was_imported(workspace: Path) -> None:
    """Also where its file changes while Python goes on with it, as in a notebook or in the middle of a training."""
    first = run_all(workspace, "A method")["train"]
    (workspace / "distillation.py").write_text("was changed")
    before, after = ("--quiet", "--root", workspace), ("--config", workspace / "tiny.toml", "--json")
    assert succeed(*before, "train", *after).document["run"] == first["run"]  # type: ignore[index]
    sys.modules.pop("distillation")
    refuse(*before, "train", *after, code=1, says=["distillation:Distillation: cannot be imported"])


def test_a_module_that_is_loaded_anew_makes_another_run(workspace: Path) -> None:
    """In the session that imported it before, as a notebook's autoreload does."""
    first = run_all(workspace, "A method")["train"]
    code = (workspace / "distillation.py").read_text()
    (workspace / "distillation.py").write_text(code.replace("temperature**2", "temperature  # not its square"))
    importlib.reload(sys.modules["distillation"])
    before, after = ("--quiet", "--root", workspace), ("--config", workspace / "tiny.toml", "--json")
    assert succeed(*before, "train", *after).document["run"] != first["run"]  # type: ignore[index]


def test_a_sliding_strategy(workspace: Path) -> None:
    trained = run_all(workspace, "A sliding strategy")["train"]
    lines = (Path(trained["run"]) / "metrics.jsonl").read_text()  # type: ignore[index]
    seen = [float(value) for value in re.findall(r'"sliding_probability": ([0-9.e-]+)', lines)]
    num_steps = trained["num_recordings"] // 4  # type: ignore[index]
    progress = [(epoch * num_steps + num_steps - 1) / (2 * num_steps) for epoch in range(2)]
    assert seen == pytest.approx([(0.5 - 0.5 * math.cos(math.pi * p)) ** 2 for p in progress])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("train.method='nowhere:Method'", "No module named 'nowhere'"),
        ("train.method='math:pi'", "expected a class derived from dvs_transfer.stages.training.methods.Method"),
        ("train.method='dvs_transfer.stages.training.methods:Method'", "has no loss()"),
        ("train.sliding='./mine:cosine'", "names no code"),
        ("train.sliding='math:pi:e'", "names no code"),
        ("train.sliding='math:pi'", "cannot be called with the [train] section"),
        (
            "train.method='transfers'",
            "'transfers' is none of distillation, events, finetune, mixture, timestep_mixup",
        ),
        ("train.sliding='math:nothing'", "has no attribute 'nothing'"),
        ("model.name='vgg'", "'vgg' is none of resnet18, scnn, vgg_snn, vgg_snn_small"),
        ("model.options={channels=3}", "vgg_snn_small has none"),
        ("train.options={late=3}", "train.options of method transfer (none): late: Extra inputs are not permitted"),
        ("model.name='nowhere:Network'", "No module named 'nowhere'"),
        ("model.name='leaky:'", "'leaky:' names no code"),
        ("model.name='leaky.py:Network'", "expected `module:Name`"),
        ("model.name='math:floor'", "cannot be called as a network is"),
    ],
)
def test_a_name_that_leads_nowhere(workspace: Path, setting: str, says: str) -> None:
    options = ("--config", write_config(workspace, RAW, SMALL))
    succeed("--quiet", "--root", workspace, "preprocess", *options)
    refused = ("is none of", "has none", "not permitted", "names no code", "expected `m")
    code = 2 if any(part in says for part in refused) else 1
    refuse("--quiet", "--root", workspace, "train", *options, "--set", setting, code=code, says=[says])


STRATEGY = """
import math, torch
def given(config):
    return {}
"""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("lambda p: 2.0", "expected a probability in [0, 1] at progress 0; found 2.0"),
        ("lambda p: -0.3", "found -0.3"),
        ("lambda p: math.nan", "found nan"),
        ("lambda p: math.inf", "found inf"),
        ("lambda p: 0.5 if p < 0.5 else 1.2", "at progress 0.5; found 1.2"),
        ("lambda p: None", "found None"),
        ("lambda p: '0.5'", "found '0.5'"),
        ("lambda p: torch.zeros(2)", "found tensor([0., 0.])"),
        ("0.5", "expected a function of progress that gives a probability; found an object of type float"),
        ("config", "found an object of type TrainConfig"),
    ],
)
def test_a_strategy_without_probabilities_trains_nothing(workspace: Path, given: str, says: str) -> None:
    before, after = write(workspace, "A sliding strategy", {"train": {"sliding": "given:given"}})
    (workspace / "given.py").write_text(STRATEGY.format(given))
    sys.modules.pop("given", None)
    succeed(*before, "preprocess", *after)  # type: ignore[misc]
    refuse(*before, "train", *after, code=1, says=["train.sliding = given:given", says])  # type: ignore[misc]
    assert not list(workspace.glob("runs/*/metrics.jsonl"))


@pytest.mark.parametrize(
    "given", ["lambda p: torch.tensor(p)", "lambda p: np.float32(p)", "lambda p: 1 + 1e-16 + 1e-12"]
)
def test_numbers_of_other_libraries_are_probabilities(workspace: Path, given: str) -> None:
    before, after = write(workspace, "A sliding strategy", {"train": {"sliding": "given:given"}})
    (workspace / "given.py").write_text("import numpy as np" + STRATEGY.format(given))
    sys.modules.pop("given", None)
    succeed(*before, "preprocess", *after)  # type: ignore[misc]
    succeed(*before, "train", *after)  # type: ignore[misc]


METHOD = """
from dvs_transfer.stages.training.methods.events import Events
class Given(Events):
    def loss(self, network, shown):
        loss, logits = super().loss(network, shown)
        return {}
"""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("loss", "expected a pair (LossParts, logits); found LossParts"),
        ("loss.total", "expected a pair (LossParts, logits); found Tensor"),
        ("logits, loss", "expected a pair (LossParts, logits)"),
        ("loss, logits.mean(0)", "logits (T, B, classes) with T = 3 and B = 4; found shape (4, 2)"),
        ("loss, logits.transpose(0, 1)", "found shape (4, 3, 2)"),
        ("loss._replace(total=loss.total.expand(4)), logits", "LossParts.total to be a tensor without dimensions"),
        ("loss._replace(alignment=0.0), logits", "LossParts.alignment to be a tensor without dimensions; found float"),
        ("loss._replace(total=loss.total.detach()), logits", "found a tensor without gradient"),
        ("loss._replace(total=loss.total * float('nan')), logits", "is not finite in step 1 of epoch 1"),
        ("loss, logits\n    def phases(self): return (range(1),)", "expected phases() to cover the epochs 0 to 1"),
        ("loss, logits\n    def sliding(self): return lambda p: 3 + p", "sliding() of train.method = given:Given"),
    ],
)
def test_a_method_that_gives_something_else(workspace: Path, given: str, says: str) -> None:
    before, after = write(workspace, "A sliding strategy", {"train": {"method": "given:Given"}})
    (workspace / "given.py").write_text(METHOD.format(given))
    sys.modules.pop("given", None)
    succeed(*before, "preprocess", *after)  # type: ignore[misc]
    refuse(*before, "train", *after, code=1, says=[says])  # type: ignore[misc]

"""Defaults that no identity holds: a document leaves such fields out, so that another default would mix old and new.

A run, a store or an evaluation of before would keep its name while what the name means has changed. Who wants another
default gives the option another name, or writes the value into the shipped files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dvs_transfer.cache.pairs  # these four: a model is known once its module is loaded
import dvs_transfer.pipeline.config
import dvs_transfer.stages.evaluation.config
import dvs_transfer.stages.runs.history  # noqa: F401
from dvs_transfer.cache.documents import Frozen
from dvs_transfer.stages.training.config import METHOD_NAMES
from dvs_transfer.stages.training.methods import method_class

KEPT = Path(__file__).parents[1] / "golden" / "unnamed_defaults.json"


def models(of: type[Frozen] = Frozen) -> Iterator[type[Frozen]]:
    for model in of.__subclasses__():
        if model.__module__.startswith("dvs_transfer."):
            yield model
        yield from models(model)


def unnamed_defaults() -> dict[str, Any]:
    options = {method_class(name).Options for name in METHOD_NAMES} - {None}
    found = {}
    for model in {*models(), *options}:
        for field in model.model_fields if model in options else model.LATER:
            default = model.model_fields[field].get_default(call_default_factory=True)
            whole = default.model_dump(mode="json", context={"whole": True}) if isinstance(default, Frozen) else default
            found[f"{model.__name__}.{field}"] = whole
    return json.loads(json.dumps(found))


def test_a_default_that_no_name_holds_stays() -> None:
    """A new field is written into the golden file by hand, beside the others."""
    assert unnamed_defaults() == json.loads(KEPT.read_text())

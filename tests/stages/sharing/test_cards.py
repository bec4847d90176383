"""The front matter is YAML for a parser that is not ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_transfer.stages.sharing.cards import card, table
from dvs_transfer.stages.sharing.licences import metadata, title_and_licence

yaml = pytest.importorskip("yaml", reason="needs PyYAML, which comes with the extra `docs`")

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn", "Co"), exclude_characters="\ufeff")
)
PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS | st.floats(-1e6, 1e6).map(lambda x: round(x, 6))
)
KEYS = st.from_regex(r"[a-z][a-z_-]{0,9}", fullmatch=True).filter(
    lambda key: key not in ("y", "n", "yes", "no", "on", "off", "null", "true", "false")
)
VALUES: Any = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_metadata_come_back_from_a_parser(document: dict[str, Any]) -> None:
    text = card(document, "Text\n\n---\n")
    assert text.startswith("---\n")
    front = text[4:].partition("\n---\n")[0]
    assert yaml.safe_load(front) == document
    assert text.endswith("\n---\n\nText\n\n---\n")


def test_a_table_s_cells_hold_no_borders() -> None:
    assert table([("a", "x|y\nz")]).splitlines() == ["| | |", "|---|---|", "| a | x\\|y z |"]


def test_licences() -> None:
    assert title_and_licence("caltech101")[1] == "CC BY 4.0"
    assert title_and_licence("nowhere.here:Reader") == ("nowhere.here:Reader", "not known")
    assert metadata(["CC BY 4.0", "CC BY 4.0"], None) == {"license": "cc-by-4.0"}
    assert metadata(["none is stated"], None) == {"license": "other", "license_name": "none is stated"}
    assert metadata(["MIT", "CC BY 4.0"], None) == {"license": "other", "license_name": "CC BY 4.0; MIT"}
    assert metadata(["MIT"], "cc0-1.0") == {"license": "cc0-1.0"}
    assert metadata([], None) == {"license": "unknown"}

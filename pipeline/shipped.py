"""The configurations and studies that are shipped with the package: listed, read, copied."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Final

from ..cache.errors import ConfigError

FOLDER: Final = Path(__file__).parent.parent / "configs"
STUDIES: Final = "studies/"


def names() -> dict[str, str]:
    """Each shipped configuration and study ("studies/..."), and the first sentence that its file says of itself."""
    files = [*sorted(FOLDER.glob("*.toml")), *sorted((FOLDER / STUDIES).glob("*.toml"))]
    return {file.relative_to(FOLDER).with_suffix("").as_posix(): _first_sentence(file.read_text()) for file in files}


def text(name: str) -> str:
    """The file of this name. Raises ConfigError, naming those there are."""
    short = name.removeprefix("configs/").removesuffix(".toml")
    if short not in (known := names()):
        raise ConfigError(f"{name}: no shipped configuration; there are {', '.join(close_to(short) or known)}")
    return (FOLDER / f"{short}.toml").read_text()


def close_to(name: str) -> list[str]:
    """Shipped configurations and studies of such a name."""
    known = names()
    return [each for each in known if name in each] or difflib.get_close_matches(name, known)


def copy(name: str, target: Path | None = None) -> Path:
    """Write the file of this name to be edited, by default into this folder. Raises ConfigError: it is there."""
    content = re.sub(r'^base = "\.\./', 'base = "configs/', text(name), flags=re.MULTILINE)
    target = target or Path()
    if target.is_dir():
        target /= Path(name).name.removesuffix(".toml") + ".toml"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x") as file:
            file.write(content)
    except FileExistsError:
        raise ConfigError(f"{target}: is there already; name another file, or remove it") from None
    return target


def _first_sentence(content: str) -> str:
    comment = [line.removeprefix("#").strip() for line in content.partition("\n\n")[0].splitlines() if line[:1] == "#"]
    return re.split(r"(?<=[.;])\s", " ".join(comment), maxsplit=1)[0].rstrip(".;")

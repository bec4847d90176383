"""Commands about configuration files: those that are shipped, and what can stand in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import shipped
from ..keys import as_markdown, explain
from .common import JSON, Given, command

config_app = typer.Typer(
    help="List, show and copy the shipped configurations, and explain every key.", no_args_is_help=True
)


@command(config_app, JSON, name="ls")
def list_names(given: Given) -> None:
    """List the shipped configurations and studies.

    Example: dvs-transfer config ls
    """

    def tell(listed: dict[str, str]) -> None:
        for name, title in listed.items():
            print(f"{name}\n    {title}")

    given.show(shipped.names(), text=tell)


@command(config_app)
def show(_: Given, name: Annotated[str, typer.Argument(help="A name that `config ls` lists.")]) -> None:
    """Print a shipped configuration.

    Example: dvs-transfer config show nmnist-saccade
    """
    print(shipped.text(name), end="")


@command(config_app)
def init(
    given: Given,
    name: Annotated[str, typer.Argument(help="A name that `config ls` lists.")],
    file: Annotated[Path | None, typer.Argument(help="File to write; by default NAME.toml here.")] = None,
) -> None:
    """Copy a shipped configuration, to be edited.

    Example: dvs-transfer config init own my-recordings.toml
    """
    written = shipped.copy(name, file)
    study = name.removeprefix("configs/").startswith(shipped.STUDIES)
    print(written)
    given.next(*(("study", "run") if study else ("preprocess", "--config")), written)


@command(config_app, JSON)
def keys(
    given: Given,
    section: Annotated[str, typer.Argument(help="A section or key, e.g. train.saccade; left out: all.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables in Markdown.")] = False,
) -> None:
    """Print every key with its type, default, unit and meaning.

    Example: dvs-transfer config keys train.saccade
    """
    found = explain(section)
    if markdown:
        print(as_markdown(found), end="")
        return

    def tell(listed: list[Any]) -> None:
        for key in listed:
            default = "required" if key.default is None else f"default {key.default or 'unset'}"
            print(f"{key.key}: {key.type}; {default}{key.unit and f'; {key.unit}'}\n    {key.meaning}")

    given.show(found, text=tell)

"""How a command is declared: its own options, those that it shares with others, and those of configuration models."""

from __future__ import annotations

import inspect
import itertools
import json
import logging
import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Final, Optional, TypeVar, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo
from typer.core import TyperCommand, TyperGroup

from ... import pipeline
from ...cache import durable
from ...cache.documents import Frozen
from ...cache.errors import ConfigError, command_line
from ...cache.places import is_address, place
from ..keys import keys_like
from ..progress import Reporter, to_document, to_text
from ..workspace import Workspace

logger = logging.getLogger(__name__)
Function = TypeVar("Function", bound=Callable[..., None])


class Settings:
    """What the options before the subcommand say."""

    reporter = Reporter()
    workspace = Workspace(Path())
    root: Path | None = None  # as it was given
    cache: str | None = None  # as it was given
    given: Given | None = None  # of the command that runs


DEFAULT_CONFIG: Final = Path("configs/demo.toml")
_HINT: Final = re.compile(r"`dvs-transfer (?:preprocess|train|evaluate)`")
# Fields of `Given` that commands take.
CONFIG: Final = ("config", "override")
OVERRIDE: Final = ("override",)
TASKS: Final = ("workers", "scheduler")
JSON: Final = ("as_json",)
JSON_FILE: Final = ("json_file",)


@dataclass(frozen=True)
class Early:
    """Options that stand before the subcommand or after it, where its help does not repeat them."""

    root: Annotated[Path | None, typer.Option(help="Folder of data/ and runs/.", hidden=True)] = None
    cache: Annotated[str | None, typer.Option(help="Folder or address of the stores.", hidden=True)] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors and results alone.", hidden=True)] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also tell settings and tasks.", hidden=True)] = False

    def apply(self) -> None:
        if self.root is not None or self.cache is not None:
            before = Settings.workspace
            Settings.root, Settings.cache = self.root or Settings.root, self.cache or Settings.cache
            Settings.workspace = Workspace.at(self.root or before.root, self.cache or before.cache_at)
        _tell_if_lost(Settings.workspace.cache)
        if self.quiet or self.verbose:
            Settings.reporter = Reporter(verbosity=0 if self.quiet else 2)


@dataclass(frozen=True)
class Given:
    """The options that commands share, and their values."""

    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file (TOML).")] = DEFAULT_CONFIG
    override: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key, e.g. train.epochs=5, or as in the example.",
        ),
    ] = field(default_factory=list)
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=0, help="Workers on this machine; 0: one for each core.")
    ] = 0
    scheduler: Annotated[str, typer.Option(help="threads, processes, serial, or a dask cluster's tcp://host:port.")] = (
        "threads"
    )
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None

    def load(self, *more: str) -> Any:
        """The configuration, with further overrides."""
        Settings.given = self
        loaded = pipeline.config.load_config(self.config, [*self.override, *more])
        Settings.reporter.detail(f"settings of {self.config}: {loaded.model_dump_json()}")
        return loaded

    def load_with(self, run: Path | None) -> Any:
        """The configuration that goes with a run's folder: without --config that of a run which is there."""
        if run is None or self.config != DEFAULT_CONFIG or not (run / "config.json").exists():
            return self.load()
        Settings.given = self
        return pipeline.config.load_config(pipeline.results.config_of_run(run), self.override)

    def check(self, *, evaluates: bool = True) -> None:
        """Refuse a configuration beside a run, and a key that there is not, or that the run has settled.

        evaluates: whether keys of `evaluate` say how the run is asked.
        """
        from ...stages.evaluation.config import EvaluateConfig

        if self.config != DEFAULT_CONFIG:
            raise ConfigError(f"--config {self.config}: a run has a configuration of its own; leave it off beside one")
        document = pipeline.config.parse_overrides(self.override)
        for each in self.override:
            section = each.partition("=")[0].strip().partition(".")[0]
            is_settled = section in pipeline.config.ExperimentConfig.model_fields and section != "evaluate"
            if is_settled or not evaluates:
                alone = "; of evaluate alone keys can be set" if evaluates else ", and this command asks nothing else"
                raise ConfigError(f"--set {each}: a trained run keeps its settings{alone}")
        asked = create_model("Asked", __base__=Frozen, evaluate=(EvaluateConfig, EvaluateConfig()))
        pipeline.config.validate(asked, document)

    def next(self, *words: object) -> None:
        """Tell the command that goes on from here, with the options that matter for it."""
        if not self.as_json and Settings.reporter.verbosity > 0:
            print(f"next: {command_line(*words)}{self.options}")

    def next_of(self, word: str, run: Path | None) -> None:
        """As `next`; a run that is named has settings of its own."""
        if run is None:
            self.next(word)
        else:
            replace(self, config=DEFAULT_CONFIG, override=[]).next(word, run)

    @property
    def names_config(self) -> bool:
        """Whether the user said anything of a configuration."""
        return self.config != DEFAULT_CONFIG or bool(self.override)

    @property
    def options(self) -> str:
        """Those of them that another command on the same data needs, too; "" for none."""
        words = [] if self.config == DEFAULT_CONFIG else ["--config", str(self.config)]
        words += [word for override in self.override for word in ("--set", override)]
        words += [] if Settings.root is None else ["--root", str(Settings.root)]
        words += [] if Settings.cache is None else ["--cache", Settings.cache]
        return f" {shlex.join(words)}" if words else ""

    def runner(self) -> Any:
        return pipeline.execution.DaskRunner(Settings.reporter, self.scheduler, self.workers)

    def show(
        self,
        report: Any,
        title: str = "",
        text: Callable[[Any], None] | None = None,
        summary: Callable[[Any], list[str]] | None = None,
    ) -> None:
        """Print a report: as JSON where asked for, else its summary, else by `text`, else a line for each field.

        With --verbose there is no summary, but all of it.
        """
        document = to_document(report)
        if self.as_json:
            print(json.dumps(document, indent=1, ensure_ascii=False))
        elif summary is not None and Settings.reporter.verbosity < 2:
            print("\n".join(summary(report)))
        elif text is not None:
            text(report)
        else:
            print(title)
            for key, value in document.items():
                if key != "warnings":  # told on standard error when they arose
                    print(f"  {key.removeprefix('num_').replace('_', ' '):<22} {to_text(value)}")
        if self.json_file is not None:
            durable.write_json(self.json_file, document)


def command(
    app: typer.Typer,
    *shared: tuple[str, ...],
    name: str | None = None,
    models: tuple[type[BaseModel], ...] = (),
    text: str | None = None,
) -> Callable[[Function], Function]:
    """Register a function `(given, own options..., **fields)` as a command.

    text: the help; by default the function's docstring.  given: of the `shared` options.  fields: of the models, None
    where one was not given. Where two models share a field, the first one describes it.
    """
    hints = get_type_hints(Given, include_extras=True)
    early = get_type_hints(Early, include_extras=True)
    options = {key: (hints[key], getattr(Given(), key)) for group in shared for key in group}
    fields = {key: described for model in reversed(models) for key, described in model.model_fields.items()}
    options |= {key: (_option(described), None) for key, described in fields.items()}
    options |= {key: (annotation, getattr(Early, key)) for key, annotation in early.items()}

    def register(function: Function) -> Function:
        signature = inspect.signature(function, eval_str=True)
        own = [given for given in list(signature.parameters.values())[1:] if given.kind is not given.VAR_KEYWORD]
        added = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, (annotation, default) in options.items()
        ]

        @wraps(function)
        def called(**values: Any) -> None:
            Early(**{key: values.pop(key) for key in early}).apply()
            values = {key: _local(value) for key, value in values.items()}
            given = Given(**{key: values.pop(key) for group in shared for key in group})
            function(given, **values)

        called.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
        app.command(name, help=text, cls=WithKeys if "config" in options else TyperCommand)(called)
        return function

    return register


class WithKeys(TyperCommand):
    """A command with a configuration. Of an option that it has not, its message names the key that may be meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = [*args]
        try:
            return super().parse_args(ctx, args)
        except Exception as caught:
            error: Any = caught  # the class of typer that it may be of is not public
            option = getattr(error, "option_name", None)
            if option and hasattr(error, "possibilities"):
                name = option.lstrip("-").replace("-", "_")
                for key in keys_like(name)[:1]:
                    if key.endswith(f".{name}") or not error.possibilities:
                        error.message = f"{error}; did you mean --set {key}={_value_after(option, given)}?"
                        error.possibilities = None
            elif files := [word for word in given if word.endswith(".toml") and "unexpected extra" in str(error)]:
                error.message = f"{error}; did you mean --config {shlex.quote(files[0])}?"
            raise


def _value_after(option: str, words: list[str]) -> str:
    """What a command line gives an option, to be pasted; VALUE where that cannot be told."""
    for word, following in itertools.pairwise([*words, "-"]):
        if word.startswith(f"{option}="):
            return shlex.quote(word.partition("=")[2])
        if word == option and not following.startswith("-"):
            return shlex.quote(following)
    return "VALUE"


def _option(field: FieldInfo) -> Any:
    default = "" if field.default in (None, (), {}) else f" [default: {field.default}]"
    annotation: Any = field.annotation
    help_text = f"{field.description}{default}"
    section, *others = get_args(annotation) or (annotation,)
    if isinstance(section, type) and issubclass(section, BaseModel) and others == [NoneType]:
        keys = ", ".join(f"{key} = ..." for key in section.model_fields)
        option = typer.Option(parser=_value_of_section, metavar=f"'{{ {keys} }}'", help=help_text)
        return Annotated[Optional[dict], option]  # noqa: UP045
    if get_origin(annotation) is dict:  # a table is given as a file
        annotation = Path
    elif get_origin(annotation) is tuple:  # of any length: an option for each entry
        annotation = list[get_args(annotation)[0]]  # type: ignore[misc]
    return Annotated[Optional[annotation], typer.Option(help=help_text)]  # noqa: UP045


def _value_of_section(text: str) -> Any:
    """A section, as a line of TOML; text without braces as it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"] if text.lstrip().startswith("{") else text
    except tomllib.TOMLDecodeError as error:
        raise typer.BadParameter(f"{text}: {error}") from None


def with_options(message: str) -> str:
    """An error's message, its hints `dvs-transfer preprocess` and the like with the options that were given."""
    given = Settings.given
    return _HINT.sub(lambda hint: f"{hint[0][:-1]}{given.options}`", message) if given is not None else message


def store_argument(help_text: str | None = None) -> Any:
    """Where a store is: a path, or an address."""
    return typer.Argument(parser=_path_or_address, help=help_text)


def store_option(help_text: str) -> Any:
    """Where a store is or shall be: a path, or an address."""
    return typer.Option(parser=_path_or_address, metavar="<path>", help=help_text)


def _path_or_address(given: str) -> Path:
    path = place(given)
    _tell_if_lost(path)
    return path


def _tell_if_lost(path: Path) -> None:
    if str(path).startswith("memory:"):
        logger.warning("%s: is in this process's memory alone, and gone when this command ends", path)


def _local(value: Any) -> Any:
    """Paths as a shell would have written them, also where it did not, as in `--out=~/runs`.

    Raises ConfigError: an address where none can be (those that can were read as such).
    """
    if isinstance(value, list):
        return [_local(item) for item in value]
    if not isinstance(value, Path):
        return value
    if is_address(address := place(value)):
        raise ConfigError(f"{address}: stores alone may be at an address; name a file or folder of this machine here")
    return value.expanduser()


class InOrder(TyperGroup):
    """A group that lists its commands in the order of the work, each with its whole first sentence."""

    order: ClassVar[tuple[str, ...]] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        known = {name: place for place, name in enumerate(self.order)}
        return sorted(self.commands, key=lambda name: known.get(name, len(known)))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        shown = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(one.help or "")) for name, one in shown if not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _first_sentence(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())

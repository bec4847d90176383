"""Options of a command from the fields of configuration models: one name, one description, one default for both."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Command = TypeVar("Command", bound=Callable[..., None])


def options_from(*models: type[BaseModel]) -> Callable[[Command], Command]:
    """Give a command that takes `**options` an option for each field of the models; None where it was not given.

    Where two models share a field, the first one describes it.
    """
    fields = {name: field for model in reversed(models) for name, field in model.model_fields.items()}

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        generated = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(field))
            for name, field in fields.items()
        ]
        parameters = [*own, *generated]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _option(field: FieldInfo) -> Any:
    default = "" if field.default in (None, (), {}) else f" [default: {field.default}]"
    annotation: Any = field.annotation
    if get_origin(annotation) is dict:  # a table is given as a file
        annotation = Path
    elif get_origin(annotation) is tuple:  # of any length: an option for each entry
        annotation = list[get_args(annotation)[0]]  # type: ignore[misc]
    return Annotated[Optional[annotation], typer.Option(help=f"{field.description}{default}")]  # noqa: UP045


def chosen(model: type[BaseModel], options: dict[str, Any]) -> dict[str, Any]:
    """The options that are fields of `model`."""
    return {name: value for name, value in options.items() if name in model.model_fields}

"""What every table of the configuration is made of: strictness, number types, unions told apart by ``type``."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

U32 = Annotated[int, Field(ge=0, lt=2**32)]
U64 = Annotated[int, Field(ge=0, lt=2**64)]
NotNegative = Annotated[FiniteFloat, Field(ge=0)]


class Table(BaseModel):
    """A TOML table: unknown keys and wrong types are errors, values never change after load."""

    # Strict, as TOML has types of its own: `debug = "false"` is a mistake, not a way to say false.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LaxTable(Table):
    """A table in which the specification lets unknown keys stand; they are kept, and mean nothing to core."""

    model_config = ConfigDict(extra="allow")


def refuse(wrong: list[str]) -> None:
    """Raise everything that is wrong with a table, one finding a line; one that starts with ``.`` continues its key."""
    if wrong:
        raise ValueError("\n".join(wrong))


def describe_type(models: Mapping[str, Any], found: object) -> str:
    """What to say of a ``type`` that is none of these."""
    return f"must be one of {', '.join(models)}, found {found!r}"


class ByType:
    """Marks a union of tables: ``type`` says which one it is, and errors keep the user's keys."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A tagged union, its tags put in angle brackets: ``problems.describe`` leaves such steps out."""
        members = get_args(source) if get_origin(source) in (Union, UnionType) else (source,)
        choices = {type_: member for member in members for type_ in get_args(member.model_fields["type"].annotation)}

        def chosen(table: Any) -> Any:
            type_ = table.get("type") if isinstance(table, dict) else getattr(table, "type", None)
            return f"<{type_}>"

        def typed(table: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
            if isinstance(table, dict) and table.get("type") not in list(choices):
                raise PydanticCustomError(
                    "table_type",
                    "{said}",
                    {"said": describe_type(choices, table["type"]) if "type" in table else "Field required"},
                )
            return validate(table)

        union = core_schema.tagged_union_schema(
            {f"<{type_}>": handler.generate_schema(member) for type_, member in choices.items()}, discriminator=chosen
        )
        return core_schema.no_info_wrap_validator_function(typed, union)


class CheckedBy:
    """Marks a table that stays a raw dict, as its plugin reads it, after core has checked the keys that are core's."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The model's own checks, so that errors have their keys; the value is the table as it came."""

        def check(table: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
            validate({key: table[key] for key in table if key in keys} if isinstance(table, dict) else table)
            return table

        keys = frozenset(self._model.model_fields)
        return core_schema.no_info_wrap_validator_function(check, handler.generate_schema(self._model))

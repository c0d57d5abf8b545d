"""An input to messages: which template renders what (config spec 11.2 and 11.3)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from headrace import VariantServices
from headrace.errors import BadRequest, ConfigError, TemplateError
from headrace.files import File
from headrace.types import Block, Input, InputBlock, Message, RawText, Role, Template, Text
from pydantic import BaseModel

_ROLES: tuple[Literal["system", "user", "assistant"], ...] = ("system", "user", "assistant")


class _TemplateFile(BaseModel, extra="forbid", frozen=True, strict=True):
    path: File


class _Wrappers(BaseModel, extra="forbid", frozen=True, strict=True):
    system: File | None = None
    user: File | None = None
    assistant: File | None = None


class TemplateSettings(BaseModel, extra="forbid", frozen=True, strict=True):
    """The template keys of a variant's table. Legacy keys wrap plain text, ``templates`` does not."""

    system_template: File | None = None
    user_template: File | None = None
    assistant_template: File | None = None
    input_wrappers: _Wrappers | None = None
    templates: dict[str, _TemplateFile] = {}


@dataclass(frozen=True, slots=True)
class _Slot:
    """One template of a variant. A legacy slot without a schema takes text only, under ``<role>_text``."""

    template: str
    legacy: bool
    has_schema: bool

    @property
    def takes_arguments(self) -> bool:
        return self.has_schema or not self.legacy


class Renderer:
    """The templates of one variant, compiled. Raises ConfigError if they do not fit the function's schemas."""

    def __init__(self, settings: TemplateSettings, services: VariantServices) -> None:
        self._prompts = services.prompts
        self._schemas = services.function.schemas
        self._function = f"functions.{services.function.name}"
        self._where = f"{self._function}.variants.{services.name}"
        self._slots: dict[str, _Slot] = {}
        for role in _ROLES:
            self._add_role(role, settings)
        for name, template in settings.templates.items():
            self._add(name, template.path, legacy=False)
        missing = [self._required(name) for name in self._schemas if name not in self._slots]
        if missing:
            raise ConfigError(*missing)

    @property
    def templates(self) -> Collection[str]:
        """The slots that take arguments."""
        return [name for name, slot in self._slots.items() if slot.takes_arguments]

    def system(self, system: str | dict[str, Any] | None) -> str | None:
        """The system text; a template is rendered even when the request has no system."""
        slot = self._slots.get("system")
        if slot is None:
            if isinstance(system, dict):
                raise BadRequest("System message content is a template but there is no variant template")
            return system
        if slot.takes_arguments:
            return self._prompts.render(slot.template, system)
        if isinstance(system, dict):
            raise BadRequest("System message content is a template but the variant's template takes only text")
        return self._prompts.render(slot.template, {"system_text": system})

    def messages(self, input_: Input) -> tuple[Message, ...]:
        """The messages with every template rendered; each block stays a block."""
        return tuple(
            Message(message.role, tuple(self._block(message.role, block) for block in message.content))
            for message in input_.messages
        )

    def _block(self, role: Role, block: InputBlock) -> Block:
        if isinstance(block, RawText):
            return Text(block.value)
        if isinstance(block, Text):
            slot = self._slots.get(role)
            if slot is None or not slot.legacy:
                return block
            return Text(self._prompts.render(slot.template, {f"{role}_text": block.text}))
        if isinstance(block, Template):
            slot = self._slots.get(block.name)
            if slot is None:
                raise BadRequest(f"Template `{block.name}` not found")
            if not slot.takes_arguments:
                raise BadRequest(f"Template `{block.name}` takes only text, as `{block.name}_text`")
            return Text(self._prompts.render(slot.template, block.arguments))
        return block

    def _add_role(self, role: Literal["system", "user", "assistant"], settings: TemplateSettings) -> None:
        template: File | None = getattr(settings, f"{role}_template")
        wrapper: File | None = getattr(settings.input_wrappers, role) if settings.input_wrappers else None
        if wrapper is not None:
            if template is not None:
                raise ConfigError(f"Cannot specify both {role}_template and input_wrappers.{role}")
            if role in self._schemas:
                raise ConfigError(f"Cannot specify input_wrappers.{role} when the function has a schema for {role}")
        legacy = template or wrapper
        if legacy is not None:
            if role in settings.templates:
                raise ConfigError(f"Cannot specify both templates.{role}.path and {role}_template")
            self._add(role, legacy, legacy=True)

    def _add(self, name: str, file: File, *, legacy: bool) -> None:
        try:
            self._prompts.add(file.name, file.text)
        except TemplateError as error:
            raise ConfigError(str(error)) from None
        slot = _Slot(file.name, legacy, name in self._schemas)
        if not slot.takes_arguments:
            needed = sorted(self._prompts.variables(file.name) - {f"{name}_text"})
            if needed:
                raise ConfigError(
                    f"`{self._where}.{name}_template`: template needs variables: [{', '.join(needed)}] "
                    f"but only `{name}_text` is allowed when template has no schema"
                )
        self._slots[name] = slot

    def _required(self, name: str) -> str:
        if name in _ROLES:
            return f"`{self._where}.{name}_template`: template is required when schema is specified"
        return f"`{self._where}.templates.{name}` is required when `{self._function}.schemas.{name}` is specified"

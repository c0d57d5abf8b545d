"""Make a new plugin by copying the simplest one of its kind under a new name."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PLUGINS = Path(__file__).parent.parent / "plugins"

# Always green, because every check runs on them; that is why they are the templates.
TEMPLATES = {
    "providers": "echo",
    "stores": "memory",
    "variants": "chat-completion",
    "optimizers": "dicl-examples",
    "evaluators": "exact-match",
    "transports": "aiohttp",
    "object-stores": "filesystem",
}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Refused(Exception):
    """The plugin cannot be made as asked."""


def make(kind: str, name: str, into: Path) -> Path:
    """Copy and rename; return the new folder. Raise Refused for a bad or taken name, before anything is written."""
    if kind not in TEMPLATES:
        raise Refused(f"there is no kind {kind!r}; the kinds are {', '.join(TEMPLATES)}")
    if not NAME.fullmatch(name):
        raise Refused(f"{name!r} is not a name: lower case letters and digits, words joined by '-', such as my-model")
    taken = [*PLUGINS.glob(f"*/{name}"), *into.glob(name)]
    if taken:
        raise Refused(f"there is a plugin of that name already: {taken[0]}")
    template = PLUGINS / kind / TEMPLATES[kind]
    folder = into / name
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "dist", "build"))
    description = tomllib.loads((template / "pyproject.toml").read_text(encoding="utf-8"))["project"]["description"]
    said = f"{kind.removesuffix('s').replace('-', ' ').capitalize()} {name} for headrace"
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path.is_file():
            text = path.read_text(encoding="utf-8").replace(description, said)
            path.write_text(renamed(text, template.name, name), encoding="utf-8")
        path.rename(path.with_name(path.name.replace(_snake(template.name), _snake(name))))
    # The new name sorts elsewhere among the imports.
    ruff = [str(Path(sys.executable).with_name("ruff")), "--config", str(PLUGINS.parent / "pyproject.toml")]
    subprocess.run([*ruff, "check", "--quiet", "--fix-only", str(folder)], check=True)
    subprocess.run([*ruff, "format", "--quiet", str(folder)], check=True)
    return folder


def renamed(text: str, old: str, new: str) -> str:
    """Give the new name wherever the old one is a name: import, distribution, type, TOML key, class. Prose stays."""
    for pattern, name in (
        (rf"(?<=headrace_){_snake(old)}\b", _snake(new)),
        (rf"(?<=headrace-){old}\b", new),
        (rf'^{old}(?= = "headrace_)', new),  # the entry point
        (rf"""(?<=["'.]){_snake(old)}(?=["'\]])""", _snake(new)),
        (rf"(?<![a-z]){_pascal(old)}(?![a-z])", _pascal(new)),
    ):
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


def _snake(name: str) -> str:
    return name.replace("-", "_")


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def main() -> None:
    """Read the arguments, make the plugin, say what comes next."""
    parser = argparse.ArgumentParser(prog="scripts/new-plugin", description=__doc__)
    parser.add_argument("kind", choices=TEMPLATES)
    parser.add_argument("name", help="folder and TOML type, such as groq or my-model")
    parser.add_argument("--into", type=Path, help="another folder than plugins/KIND, for a plugin of your own")
    arguments = parser.parse_args()
    try:
        folder = make(arguments.kind, arguments.name, arguments.into or PLUGINS / arguments.kind)
    except Refused as error:
        sys.exit(f"scripts/new-plugin: {error}")
    folder = Path(os.path.relpath(folder))
    print(f"made {folder}, a working copy of {TEMPLATES[arguments.kind]}. Next:")
    print(f"  1. make it yours: {folder}/src/headrace_{_snake(arguments.name)}/")
    print(f"  2. say what it is: {folder}/README.md and the description in {folder}/pyproject.toml")
    print(f"  3. scripts/test {folder}")
    print(f"  4. headrace plugins info {arguments.name}")


if __name__ == "__main__":
    main()

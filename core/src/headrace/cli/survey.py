"""Load every plugin in another process and hear how each ended, even if one takes its interpreter down.

Run as ``python -m headrace.cli.survey N`` this module is that other process: it loads the plugins from the Nth
on and writes one line of JSON for each. Where the lines stop short, the next plugin is the one that crashed.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import EntryPoint
from typing import Any

import msgspec
from msgspec import Struct

from ..contracts import Factory
from ..plugins import Kind, Plugin, ended, installed, load_one, switched_off

# What a healthy plugin needs is below a second; one that waits for a network at import is not healthy.
LIMIT_S = 30.0


class Setting(Struct, frozen=True):
    """One key of a type's TOML table."""

    name: str
    type: str
    default: str | None  # None: the key is required


class Offer(Struct, frozen=True):
    """One type that a plugin offers, with the keys of its table."""

    kind: Kind
    name: str
    settings: list[Setting]


class Report(Struct, frozen=True):
    """How a plugin ended, and its types in full."""

    plugin: Plugin
    offers: list[Offer] = []


def survey(*, limit_s: float = LIMIT_S) -> list[Report]:
    """Ask every installed plugin: one other process, and a fresh one after each plugin that crashes it."""
    points = installed()
    reports: list[Report] = []
    while len(reports) < len(points):
        lines, crash = _run(len(reports), limit_s)
        reports += [msgspec.json.decode(line, type=Report) for line in lines]
        if len(reports) < len(points):
            reports.append(Report(_crashed(points[len(reports)], *crash)))
    return reports


def _run(first: int, limit_s: float) -> tuple[list[bytes], tuple[int, str]]:
    """The lines that came, and how the process ended. Files, not pipes: a plugin's own children cannot hold us up."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        command = [sys.executable, "-P", "-m", __name__, str(first), str(limit_s)]
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False).returncode
        out.seek(0)
        err.seek(0)
        # A line without its end was cut off by the crash.
        lines = [line for line in out.read().splitlines(keepends=True) if line.endswith(b"\n")]
        return lines, (status, err.read().decode(errors="replace"))


def _crashed(point: EntryPoint, status: int, said: str) -> Plugin:
    if "Timeout (" in said and status == 1:  # the words of faulthandler, which saw the limit pass
        reason = "did not finish loading within the time limit"
    elif status < 0:
        reason = f"crashed the interpreter with signal {-status} ({signal.strsignal(-status)})"
    else:
        reason = f"ended the interpreter with exit status {status}"
    return ended(point, "failed", reason=reason, detail=said)


def _offer(kind: Kind, offer: Any) -> Offer:
    fields = offer.config.model_fields if isinstance(offer, Factory) else {}
    return Offer(kind, offer.name, [_setting(field.alias or name, field) for name, field in fields.items()])


def _setting(name: str, field: Any) -> Setting:
    plain = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    default = "(made)" if field.default_factory else repr(field.default)
    return Setting(name, plain.replace("typing.", ""), None if field.is_required() else default)


def _report(first: int, limit_s: float) -> None:
    """Load from the ``first`` plugin on. What plugins print goes to stderr: stdout is for the lines."""
    lines = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    faulthandler.enable()
    for point in installed()[first:]:
        faulthandler.dump_traceback_later(limit_s, exit=True)
        plugin, offers = load_one(point, disabled=switched_off())
        report = Report(plugin, [_offer(kind, offer) for kind, offer in offers])
        lines.write(msgspec.json.encode(report) + b"\n")
        lines.flush()
    os._exit(0)  # everything is said: a plugin's threads and exit handlers shall not hang or crash us now


if __name__ == "__main__":
    _report(int(sys.argv[1]), float(sys.argv[2]))

"""Move the fragments of ``changes/`` into ``CHANGELOG.md`` under a version and today's date."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
KINDS = ("added", "changed", "fixed", "removed")


def release(version: str, day: str, changelog: str, fragments: dict[str, str]) -> str:
    """The changelog with a section for ``version`` before the earlier ones; ``fragments`` are texts by file name."""
    section = [f"## {version} ({day})"]
    for kind in KINDS:
        texts = [text for name, text in sorted(fragments.items()) if name.endswith(f".{kind}.md")]
        if texts:
            items = "\n".join("- " + "\n  ".join(text.strip().splitlines()) for text in texts)
            section.append(f"### {kind.capitalize()}\n\n{items}")
    head, mark, earlier = changelog.partition("\n## ")
    return "\n\n".join([head.rstrip(), *section]) + "\n" + (f"{mark}{earlier}" if mark else "")


def main() -> None:
    """Write the section, then remove what it was made of."""
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/changelog VERSION")
    paths = sorted(ROOT.glob("changes/*.md"))
    if not paths:
        sys.exit("scripts/changelog: there is nothing in changes/ to release")
    changelog = ROOT / "CHANGELOG.md"
    fragments = {path.name: path.read_text(encoding="utf-8") for path in paths}
    day = datetime.now(UTC).date().isoformat()
    changelog.write_text(release(sys.argv[1], day, changelog.read_text(encoding="utf-8"), fragments), encoding="utf-8")
    for path in paths:
        path.unlink()


if __name__ == "__main__":
    main()

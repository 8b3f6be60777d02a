"""Photographs every recorded mail in headless Chromium: `python tests/golden/photograph.py`, then look at build/mails.

A picture shows them all side by side, at the width of a phone or of a desk, in light or in dark.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

MAILS = Path(__file__).parent / "mails"
PHOTOGRAPHS = Path(__file__).parents[2] / "build" / "mails"
HEIGHTS = {360: 1200, 800: 960}  # what the longest mail needs, by width
COLUMNS = 5
GAP = 16
SCHEMES = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TITLES = 24  # the height of a mail's name above it

# Mails lie in frames of the width of a screen. The page tells by its title in which of them something is wider than its
# place.
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #8a9199; font: 14px/{titles}px sans-serif; }}
main {{ display: grid; grid-template-columns: repeat({columns}, {width}px); gap: {gap}px; padding: {gap}px; }}
iframe {{ display: block; width: {width}px; height: {height}px; border: 0; }}
</style><main>{frames}</main><script>
onload = () => {{
  const overflows = box => box.clientWidth > 0 && box.scrollWidth > Math.min(box.clientWidth, {width});
  const frames = [...document.querySelectorAll("iframe")];
  const wide = frames.filter(frame => [...frame.contentDocument.querySelectorAll("*")].some(overflows));
  document.title = wide.map(frame => frame.title).join(" ");
}};
</script>"""
FRAME = '<div>{name}<iframe title="{name}" srcdoc="{page}"></iframe></div>'


def browser() -> str | None:
    """Return the path of an installed Chromium, None without one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def photograph(
    program: str, pages: Sequence[Path], width: int, scheme: str, folder: Path = PHOTOGRAPHS
) -> tuple[Path, list[str]]:
    """Render pages at a width in a colour scheme; return the picture, and the names of pages with something cut off."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{width}.{scheme}.png"
    frames = (FRAME.format(name=page.stem, page=escape(_in_scheme(page, scheme))) for page in pages)
    height, columns = HEIGHTS[width], min(COLUMNS, len(pages))
    size = {"width": width, "height": height, "columns": columns, "gap": GAP, "titles": TITLES}
    rows = -(-len(pages) // columns)
    window = f"{columns * (width + GAP) + GAP},{rows * (height + TITLES + GAP) + GAP}"
    with tempfile.TemporaryDirectory() as profile:
        sheet = Path(profile) / "sheet.html"
        sheet.write_text(PAGE.format(frames="".join(frames), **size), "utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
        command = [
            program,
            *options,
            f"--window-size={window}",
            f"--screenshot={picture}",
            "--dump-dom",
            sheet.as_uri(),
        ]
        shown = subprocess.run(command, check=True, capture_output=True, timeout=120, text=True)
    return picture, _title(shown.stdout).split()


def _in_scheme(page: Path, scheme: str) -> str:
    """Return a page whose own rules for dark hold, or not, whatever the browser would choose."""
    holds = "@media all" if scheme == "dark" else "@media not all"
    return page.read_text("utf-8").replace("@media (prefers-color-scheme: dark)", holds)


def _title(dom: str) -> str:
    found = re.search(r"<title>(.*?)</title>", dom)
    return found[1] if found else ""


def main() -> None:
    """Photograph them all."""
    program = browser() or sys.exit("no Chromium is installed")
    for width in HEIGHTS:
        for scheme in SCHEMES:
            print(*photograph(program, sorted(MAILS.glob("*.html")), width, scheme))


if __name__ == "__main__":
    main()

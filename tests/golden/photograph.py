"""Photographs every recorded mail in headless Chromium: `python tests/golden/photograph.py`, then look at build/mails.

Each at the width of a phone and of a desk, in light and in dark.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MAILS = Path(__file__).parent / "mails"
PHOTOGRAPHS = Path(__file__).parents[2] / "build" / "mails"
WIDTHS = {360: 1300, 800: 1000}  # with the height that the longest mail needs
SCHEMES = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser() -> str | None:
    """Return the path of an installed Chromium, None without one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def photograph(program: str, page: Path, width: int, scheme: str, folder: Path = PHOTOGRAPHS) -> Path:
    """Render a page at a width in a colour scheme and return the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{page.stem}.{width}.{scheme}.png"
    with tempfile.TemporaryDirectory() as profile:
        shown = Path(profile) / "page.html"
        shown.write_text(_in_scheme(page.read_text("utf-8"), scheme), "utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
        # A window is never narrower than 500, so a phone is a frame in a wide page.
        frame = Path(profile) / "frame.html"
        size = f"width:{width}px;height:{WIDTHS[width]}px;border:0"
        frame.write_text(f'<body style="margin:0"><iframe src="page.html" style="{size}"></iframe>', "utf-8")
        window = f"--window-size={max(width, 500)},{WIDTHS[width]}"
        command = [program, *options, window, f"--screenshot={picture}", frame.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return picture


def _in_scheme(html: str, scheme: str) -> str:
    """Let the page's own rules for dark hold, or not, whatever the browser would choose."""
    return re.sub(
        r"@media \(prefers-color-scheme: dark\)", "@media all" if scheme == "dark" else "@media not all", html
    )


def main() -> None:
    """Photograph them all."""
    program = browser() or sys.exit("no Chromium is installed")
    for page in sorted(MAILS.glob("*.html")):
        for width in WIDTHS:
            for scheme in SCHEMES:
                print(photograph(program, page, width, scheme))


if __name__ == "__main__":
    main()

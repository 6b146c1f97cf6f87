"""Which workspaces and items exist and what they are called. Fabric knows; OneLake asks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

Resolve = Callable[[str, str], tuple[str, str, str]]
"""(workspace, item), both by id or both by name (`Name.Type`) → (workspace id, item id, item type). Raises ItemUnknown."""


class ItemUnknown(LookupError):
    """No such workspace, or no such item in it."""


class Catalog(Protocol):
    """What OneLake asks of Fabric."""

    def resolve(self, workspace: str, item: str) -> tuple[str, str, str]:
        """As `Resolve` above."""
        ...

    def workspaces(self) -> Sequence[tuple[str, str]]:
        """(id, name) of each workspace."""
        ...

    def items(self, workspace_id: str) -> Sequence[tuple[str, str, str]]:
        """(id, name, type) of each item of a workspace."""
        ...


class FolderCatalog:
    """A catalog of what lies on disk: ids only, or with names where a `resolve` is given."""

    def __init__(self, root: Path, resolve: Resolve | None = None) -> None:
        self._root: Final = root
        self._resolve = resolve

    def resolve(self, workspace: str, item: str) -> tuple[str, str, str]:
        """Ask the given function, else accept the ids of folders that exist."""
        if self._resolve is not None:
            return self._resolve(workspace, item)
        if (workspace.lower(), item.lower()) in {(above, name) for above, _ in self.workspaces() for name, _, _ in self.items(above)}:
            return workspace.lower(), item.lower(), "Lakehouse"
        raise ItemUnknown(f"{workspace}/{item}")

    def workspaces(self) -> Sequence[tuple[str, str]]:
        """Folders of the root; a workspace's id is its name."""
        return [(folder.name, folder.name) for folder in sorted(self._root.iterdir()) if folder.is_dir()]

    def items(self, workspace_id: str) -> Sequence[tuple[str, str, str]]:
        """Folders of a workspace; an item's id is its name."""
        folder = self._root / workspace_id
        return [(one.name, one.name, "Lakehouse") for one in sorted(folder.iterdir()) if one.is_dir()] if folder.is_dir() else []

"""List Blobs: a prefix becomes a folder and the start of a name; names are shown as the client wrote workspace and item.

Source: List Blobs of the Blob service REST reference. Real clients need the echo: object_store and adlfs cut the prefix off again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.sandbox.onelake import failures, xml
from treadle.sandbox.onelake.addresses import Address, is_guid, split_path
from treadle.sandbox.onelake.failures import StorageError
from treadle.sandbox.onelake.listing import Page, Wanted, list_page
from treadle.sandbox.onelake.staging import Key
from treadle.sandbox.onelake.store import LakeStore
from treadle.sandbox.onelake.wire import Call, page_size


@dataclass(frozen=True, slots=True)
class _View:
    """The folder to list, the start of the names in it, and what each item of the workspace is called in the answer."""

    below: Key
    name_start: str
    item_names: Mapping[str, str]

    def shown(self, key: Key) -> str:
        return "/".join((self.item_names.get(key[1], key[1]), *key[2:]))

    def admits(self, name: str) -> bool:
        shown = self.item_names.get(name, name) if len(self.below) == 1 else name
        return shown.startswith(self.name_start)

    def start(self, text: str) -> Key | None:
        """Where `startFrom` points on disk; None where it names no item of this listing."""
        names = split_path(text)
        item_id = next((known for known, name in self.item_names.items() if names and name == names[0]), None)
        return (self.below[0], item_id, *names[1:]) if item_id else None


async def list_blobs(call: Call) -> Response:
    """List Blobs. Folders are listed as in every hierarchical namespace; a prefix where nothing is gives an empty list."""
    if (delimiter := call.query.get("delimiter", "")) not in {"", "/"}:
        raise failures.bad_query("delimiter", delimiter)
    return Response(await run_in_threadpool(_list, call, delimiter), 200, media_type="application/xml")


def _list(call: Call, delimiter: str) -> bytes:
    query, workspace = call.query, call.address.workspace or ""
    view = _view_of(call.store, workspace, query.get("prefix", ""))
    limit = page_size(call, "maxresults")
    page = _page(call, view, limit, recursive=not delimiter)
    echo = xml.Echo(workspace, query.get("prefix", ""), query.get("marker", ""), limit, delimiter)
    listed = [(view.shown(one.key), one.entry) for one in page.listed]
    return xml.blobs(echo, listed, page.marker, with_metadata="metadata" in query.get("include", "").split(","))


def _view_of(store: LakeStore, workspace: str, prefix: str) -> _View:
    folder, _, name_start = prefix.rpartition("/")
    names = split_path(folder)
    if not names:
        workspace_id, _ = store.workspace(workspace)
        by_id = is_guid(workspace)
        shown = {item_id: item_id if by_id else f"{name}.{kind}" for item_id, name, kind in store.catalog.items(workspace_id)}
        return _View((workspace_id,), name_start, shown)
    target = store.locate(Address(workspace, names[0], names[1:]))
    return _View(target.key, name_start, {target.item_id: names[0]})


def _page(call: Call, view: _View, limit: int, *, recursive: bool) -> Page:
    lag = call.faults.take("listing_lag", call.operation)
    wanted = Wanted(
        view.below,
        recursive,
        limit,
        marker=call.query.get("marker", ""),
        start=view.start(call.query.get("startFrom", "")),
        admits=view.admits,
        newest=call.clock.now() - timedelta(seconds=float(lag.args.get("seconds", 60))) if lag else None,
    )
    try:
        return list_page(call.store, wanted)
    except StorageError as error:
        if error.status in {404, 409}:
            return Page([], "")
        raise

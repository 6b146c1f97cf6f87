"""Uploads as the database keeps them: begun once, ended once, and gone when their time is over."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from treadle.control import uploads
from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.control.uploads import NewUpload
from treadle.errors import Conflict, InvalidInput, NotFound

HOUR = timedelta(hours=1)
SHA256 = "0123456789abcdef" * 4


@pytest.fixture
def own(database: Database) -> Database:
    migrate(database)
    return database


def new(upload_id: UUID | None = None, **changes) -> NewUpload:
    upload_id = upload_id or uuid4()
    values = {"file_name": "orders.csv", "size_bytes": 10, "sha256": None, "overwrite": True, "created_by": "ada"}
    return NewUpload(upload_id=upload_id, staged_path=f"Files/.treadle/uploads/{upload_id}", **values | changes)


def test_the_same_id_is_the_same_upload(own):
    wanted = new()
    first = uploads.create_upload(own, wanted, HOUR)
    again = uploads.create_upload(own, new(wanted.upload_id, size_bytes=99), HOUR)
    assert first == again
    assert (first.state, first.expires_at - first.created_at) == ("OPEN", pytest.approx(HOUR, abs=timedelta(seconds=1)))


def test_an_upload_is_placed_once(own):
    upload = uploads.create_upload(own, new(), HOUR)
    uploads.begin_placing(own, upload.upload_id, SHA256.upper())
    uploads.back_to_open(own, upload.upload_id)
    assert uploads.get_upload(own, upload.upload_id).state == "OPEN"
    uploads.begin_placing(own, upload.upload_id, SHA256)
    for _ in range(2):
        uploads.end_placing(own, upload.upload_id)
    placed = uploads.get_upload(own, upload.upload_id)
    assert (placed.state, placed.sha256, placed.placed_at is None) == ("PLACED", SHA256, False)
    with pytest.raises(Conflict):
        uploads.begin_placing(own, upload.upload_id, SHA256)
    with pytest.raises(Conflict):
        uploads.cancel_upload(own, upload.upload_id)


def test_what_is_over_is_not_found_and_can_be_cleared_away(own):
    cancelled, expired, fresh = (uploads.create_upload(own, new(), HOUR) for _ in range(3))
    with own.transaction() as connection:
        connection.execute("UPDATE treadle.uploads SET expires_at = clock_timestamp() WHERE upload_id = %s", (expired.upload_id,))
    for _ in range(2):
        uploads.cancel_upload(own, cancelled.upload_id)
    for upload in (cancelled, expired):
        with pytest.raises(NotFound):
            uploads.get_upload(own, upload.upload_id)
    assert {upload_id for upload_id, _ in uploads.over_uploads(own)} == {cancelled.upload_id, expired.upload_id}
    for _ in range(2):
        uploads.delete_upload(own, expired.upload_id)
    assert [path for _, path in uploads.over_uploads(own)] == [cancelled.staged_path]
    assert uploads.get_upload(own, fresh.upload_id) == fresh


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, "０" * 64])
def test_what_is_no_sha256_is_refused(text):
    with pytest.raises(InvalidInput):
        uploads.checked_sha256(text)


def test_a_name_that_cannot_be_stored_is_refused(own):
    with pytest.raises(InvalidInput):
        uploads.create_upload(own, new(file_name="a\n.csv"), HOUR)

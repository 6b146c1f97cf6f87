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
    assert {upload_id for upload_id, _, _ in uploads.over_uploads(own)} == {cancelled.upload_id, expired.upload_id}
    for _ in range(2):
        uploads.delete_upload(own, expired.upload_id)
    assert [path for _, path, _ in uploads.over_uploads(own)] == [cancelled.staged_path]
    assert uploads.get_upload(own, fresh.upload_id) == fresh


def placed_archive(own, **changes):
    upload = uploads.create_upload(own, new(owner="token:ada", archive_path=f"Files/scenarios/uploads/{uuid4()}/a.tgz", **changes), HOUR)
    uploads.begin_placing(own, upload.upload_id, SHA256)
    uploads.end_placing(own, upload.upload_id)
    return uploads.get_upload(own, upload.upload_id)


def use(own, upload_id, job_id):
    with own.transaction() as connection:
        uploads.use_upload(connection, upload_id, job_id)


def test_an_archive_is_used_by_one_job(own):
    upload, job_id = placed_archive(own), uuid4()
    for _ in range(2):
        use(own, upload.upload_id, job_id)
    with pytest.raises(Conflict):
        use(own, upload.upload_id, uuid4())
    with pytest.raises(Conflict):
        uploads.cancel_upload(own, upload.upload_id)
    assert uploads.get_upload(own, upload.upload_id).used_by == uploads.user_of(own, upload.upload_id) == job_id


def test_an_archive_that_is_not_finished_was_given_up_or_is_over_time_is_not_used(own):
    open_one = uploads.create_upload(own, new(owner="token:ada", archive_path="Files/scenarios/uploads/1/a.tgz"), HOUR)
    given_up, expired, workbook = placed_archive(own), placed_archive(own), uploads.create_upload(own, new(), HOUR)
    uploads.cancel_upload(own, given_up.upload_id)
    with own.transaction() as connection:
        connection.execute("UPDATE treadle.uploads SET expires_at = clock_timestamp() WHERE upload_id = %s", (expired.upload_id,))
    for upload in (open_one, given_up, expired, workbook):
        with pytest.raises(Conflict):
            use(own, upload.upload_id, uuid4())
    with pytest.raises(NotFound, match="expired"):
        uploads.get_upload(own, expired.upload_id)
    paths = {upload_id: archive for upload_id, _, archive in uploads.over_uploads(own)}
    assert paths == {given_up.upload_id: given_up.archive_path, expired.upload_id: expired.archive_path}


def test_an_archive_is_its_owners_and_a_workbook_everybodys(own):
    archive, workbook = placed_archive(own), uploads.create_upload(own, new(owner="token:ada"), HOUR)
    uploads.require_owner(archive, "token:ada")
    uploads.require_owner(workbook, "token:bob")
    with pytest.raises(NotFound):
        uploads.require_owner(archive, "token:bob")


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, "０" * 64])
def test_what_is_no_sha256_is_refused(text):
    with pytest.raises(InvalidInput):
        uploads.checked_sha256(text)


def test_a_name_that_cannot_be_stored_is_refused(own):
    with pytest.raises(InvalidInput):
        uploads.create_upload(own, new(file_name="a\n.csv"), HOUR)

"""Why a storage request is refused, in the words of the DFS dialect; the Blob dialect translates the few that differ.

Source: "Error codes" of the Data Lake Storage Gen2 REST reference and of the Blob service.
"""

from collections.abc import Mapping
from typing import Final


class StorageError(Exception):
    """A refusal: HTTP status, storage error code, message, and headers that go with it."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


_BLOB_CODES: Final[Mapping[str, str]] = {
    "PathNotFound": "BlobNotFound",
    "SourcePathNotFound": "BlobNotFound",
    "PathAlreadyExists": "BlobAlreadyExists",
    "DirectoryNotEmpty": "DirectoryIsNotEmpty",
    "PathConflict": "ResourceTypeMismatch",
    "MD5Mismatch": "Md5Mismatch",
}


def blob_code(code: str) -> str:
    """The Blob dialect's word for a DFS error code."""
    return _BLOB_CODES.get(code, code)


def path_missing() -> StorageError:
    """Nothing is stored there."""
    return StorageError(404, "PathNotFound", "The specified path does not exist.")


def path_exists() -> StorageError:
    """If-None-Match: * found something there."""
    return StorageError(409, "PathAlreadyExists", "The specified path already exists.")


def path_conflict() -> StorageError:
    """A file stands where a folder is needed, or the other way round."""
    return StorageError(
        409, "PathConflict", "The specified path, or an element of the path, exists and its resource type is invalid for this operation."
    )


def condition_failed() -> StorageError:
    """A conditional header does not hold."""
    return StorageError(412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")


def not_modified(etag: str) -> StorageError:
    """A conditional read found what the reader already has."""
    return StorageError(304, "ConditionNotMet", "The resource has not changed.", {"ETag": f'"{etag}"'})


def managed_folder() -> StorageError:
    """Workspaces, items and their first-level folders belong to Fabric."""
    return StorageError(
        400,
        "OperationNotAllowedOnThePath",
        "Workspaces, items and their managed folders cannot be created, changed, renamed or deleted through the storage APIs.",
    )


def bad_path(reason: str) -> StorageError:
    """The path could leave the item's folder, or is no valid path."""
    return StorageError(400, "InvalidUri", f"The request URI is invalid: {reason}.")


def bad_query(name: str, value: str) -> StorageError:
    """A query parameter has a value outside its range."""
    return StorageError(
        400,
        "InvalidQueryParameterValue",
        f"Value for one of the query parameters specified in the request URI is invalid: {name}={value!r}.",
    )


def missing_query(name: str) -> StorageError:
    """A query parameter that the operation needs is absent."""
    return StorageError(
        400, "MissingRequiredQueryParameter", f"A query parameter that is mandatory for this request is not specified: {name}."
    )


def bad_header(name: str) -> StorageError:
    """A header has a value that cannot be read."""
    return StorageError(400, "InvalidHeaderValue", f"The value for one of the HTTP headers is not in the correct format: {name}.")


def missing_header(name: str) -> StorageError:
    """A header that the operation needs is absent."""
    return StorageError(400, "MissingRequiredHeader", f"An HTTP header that is mandatory for this request is not specified: {name}.")


def unsupported_header(name: str) -> StorageError:
    """A header that this operation does not take."""
    return StorageError(400, "UnsupportedHeader", f"One of the headers specified in the request is not supported: {name}.")


def body_not_empty() -> StorageError:
    """Create, rename and flush take no body."""
    return StorageError(400, "ContentLengthMustBeZero", "The Content-Length request header must be zero.")


def flush_position() -> StorageError:
    """What was appended does not join up to the position of the flush."""
    return StorageError(
        400,
        "InvalidFlushPosition",
        "The uploaded data is not contiguous or the position query parameter value is not equal to the length of the file "
        "after appending the uploaded data.",
    )


def digest_mismatch() -> StorageError:
    """The bytes that arrived are not those that were sent."""
    return StorageError(
        400, "MD5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server."
    )

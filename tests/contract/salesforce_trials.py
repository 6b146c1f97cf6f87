"""Short ways to say in a test what a client asks of the Salesforce org."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import httpx2

from treadle.sandbox.server import Sandbox

METRIC = "Customer_Weekly_Metric__c"
KEY = "External_Signal_Id__c"
COLUMNS = (KEY, "External_Customer_Id__c", "Batch_Week_Start__c", "Batch_Week_End__c", "Total_Spend_Week__c", "Customer_Tier__c")


class SalesforceCaller:
    """A client with a session that counts no request twice; each call names the path below /services/data/v66.0."""

    def __init__(self, sandbox: Sandbox, https: httpx2.Client) -> None:
        self.sandbox, self.cloud, self._https = sandbox, sandbox.salesforce, https
        self.url = sandbox.endpoints.salesforce_url
        self.session = self.cloud.identity.open_session()

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request; a path that begins with /services is taken as it is."""
        base = "" if path.startswith("/services") else "/services/data/v66.0"
        headers = {"Authorization": f"Bearer {self.session}"} | options.pop("headers", {})
        return self._https.request(method, f"{self.url}{base}{path}", headers=headers, **options)

    def token(self, auth: tuple[str, str] | None = None, **form: str) -> httpx2.Response:
        """A token request."""
        options: dict[str, Any] = {"auth": auth} if auth else {}
        return self._https.post(f"{self.url}/services/oauth2/token", data=form, **options)

    def job(self, operation: str = "upsert", **wish: Any) -> str:
        """Create an ingest job; its id."""
        body = {"object": METRIC, "operation": operation, **({"externalIdFieldName": KEY} if operation == "upsert" else {}), **wish}
        answer = self.ask("POST", "/jobs/ingest", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def upload(self, job: str, data: bytes | str | Iterable[bytes]) -> httpx2.Response:
        """Upload the data of a job; pieces are sent in chunks."""
        return self.ask("PUT", f"/jobs/ingest/{job}/batches", content=data, headers={"Content-Type": "text/csv"})

    def move(self, job: str, state: str) -> httpx2.Response:
        """Ask for another state of a job."""
        return self.ask("PATCH", f"/jobs/ingest/{job}", json={"state": state})

    def run(self, data: str, operation: str = "upsert", **wish: Any) -> "Ended":
        """A whole job, from creation to its results."""
        job = self.job(operation, **wish)
        assert self.upload(job, data).status_code == 201
        assert self.move(job, "UploadComplete").json()["state"] == "UploadComplete"
        return self.ended(job)

    def ended(self, job: str) -> "Ended":
        """A job when the work on it has ended."""
        self.cloud.jobs.wait(job)
        return Ended(self, job)

    def result(self, job: str, kind: str) -> str:
        """One of the three result sets, as it comes."""
        answer = self.ask("GET", f"/jobs/ingest/{job}/{kind}")
        assert answer.status_code == 200, answer.text
        return answer.text


class Ended:
    """What became of a job."""

    def __init__(self, caller: SalesforceCaller, job: str) -> None:
        self.job = job
        self.info = caller.ask("GET", f"/jobs/ingest/{job}").json()
        self.state = self.info["state"]
        sets = [read_csv(caller.result(job, kind)) for kind in ("successfulResults", "failedResults", "unprocessedrecords")]
        self.successful, self.failed, self.unprocessed = sets

    @property
    def errors(self) -> dict[str, str]:
        """External id → what was wrong."""
        return {row[KEY]: row["sf__Error"] for row in self.failed}


def read_csv(text: str) -> list[dict[str, str]]:
    """Rows of a result set."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def as_csv(rows: Iterable[Mapping[str, str]], columns: Iterable[str] = COLUMNS, **dialect: Any) -> str:
    """Rows as an upload, LF unless told otherwise."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator=dialect.pop("lineterminator", "\n"), restval="", **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def metric(key: str, **values: str) -> dict[str, str]:
    """A row that can be created, by the names of COLUMNS."""
    usual = {
        KEY: key,
        "External_Customer_Id__c": key.partition("_")[0] or key,
        "Batch_Week_Start__c": "2026-01-05",
        "Batch_Week_End__c": "2026-01-11",
        "Total_Spend_Week__c": "12.50",
        "Customer_Tier__c": "LOW",
    }
    return usual | values

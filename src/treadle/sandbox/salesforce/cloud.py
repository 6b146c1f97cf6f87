"""The parts of one org that belong together, opened from its state folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treadle.sandbox.clock import Clock
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.salesforce.allocations import Allocations
from treadle.sandbox.salesforce.identity import Identity, SalesforceCredentials
from treadle.sandbox.salesforce.ids import id_of
from treadle.sandbox.salesforce.ingest import IngestJobs
from treadle.sandbox.salesforce.org import Org
from treadle.sandbox.salesforce.records import Records
from treadle.sandbox.salesforce.refusals import Refused
from treadle.sandbox.salesforce.schema import CUSTOMER_WEEKLY_METRIC, OBJECTS, SObject
from treadle.sandbox.salesforce.workshop import Options, Workshop


class SalesforceCloud:
    """One org. `options` can be changed while it runs."""

    def __init__(self, folder: Path, clock: Clock, faults: FaultScript, *, instance_url: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.options = Options()
        self.clock = clock
        self._records = Records(folder / "org.sqlite3")
        workshop = Workshop(folder, self._records, clock, faults, self.options)
        self.identity = Identity(workshop, instance_url)
        self.allocations = Allocations(workshop)
        self.org = Org(workshop)
        self.jobs = IngestJobs(workshop, self.allocations)
        self.jobs.work.resume()

    @property
    def credentials(self) -> SalesforceCredentials:
        """The app and the user that come with this state."""
        return self.identity.credentials

    def writes(self, external_id: str | None = None, sobject: str = CUSTOMER_WEEKLY_METRIC.name) -> dict[str, dict[str, int]]:
        """For tests: how often each external id was created, updated and deleted by the integration, and edited by a person."""
        return self.org.writes(self._object(sobject), None if external_id is None else [external_id])

    def edit(self, external_id: str, values: Mapping[str, Any], sobject: str = CUSTOMER_WEEKLY_METRIC.name) -> dict[str, Any]:
        """For tests: change a record as a person in Salesforce would; returns the record. Raises Refused."""
        return self.org.edit(self._object(sobject), external_id, values)

    def remove(self, external_id: str, sobject: str = CUSTOMER_WEEKLY_METRIC.name) -> None:
        """For tests: delete a record as a person in Salesforce would. Raises Refused."""
        self.org.remove(self._object(sobject), external_id)

    def record(self, external_id: str, sobject: str = CUSTOMER_WEEKLY_METRIC.name) -> dict[str, Any]:
        """For tests: the live record with this external id. Raises Refused."""
        return self.org.read_by_key(self._object(sobject), external_id, "66.0")

    def open_job_of_another(self, sobject: str = CUSTOMER_WEEKLY_METRIC.name) -> str:
        """For tests: another user of the org begins to bring rows of this object; returns the id of the job, which waits for its rows."""
        target = self._object(sobject)
        key = next(field.name for field in target.own_fields if field.external_id)
        wish = {"object": target.name, "operation": "upsert", "externalIdFieldName": key}
        return str(self.jobs.create(wish, "66.0", created_by=id_of("005", 2))["id"])

    def forget_everything(self) -> None:
        """For tests: an org without records, jobs and counts, with the usual options."""
        self.jobs.forget_everything()
        usual = Options()
        for name in Options.__dataclass_fields__:
            setattr(self.options, name, getattr(usual, name))

    def stop(self) -> None:
        """End after the batch that is being written, and close the file."""
        self.jobs.work.stop()
        self._records.close()

    def _object(self, name: str) -> SObject:
        found = OBJECTS.get(name.lower())
        if found is None:
            raise Refused(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return found

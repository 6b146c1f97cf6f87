"""A thin REST caller for the contract tests of the eventhouses' query service."""

from tests.contract.fabric_trials import FabricCaller

KUSTO = "https://kusto.kusto.windows.net"


class KustoCaller:
    """Calls the query service of one eventhouse, in its default database unless another one is named."""

    def __init__(self, fabric: FabricCaller, workspace: str, name: str = "telemetry") -> None:
        self.fabric, self.workspace, self.name, self.https = fabric, workspace, name, fabric.https
        item = fabric.post(f"/workspaces/{workspace}/eventhouses", {"displayName": name}, expect=201).json()
        self.eventhouse = item["id"]
        properties = fabric.get(f"/workspaces/{workspace}/eventhouses/{self.eventhouse}").json()["properties"]
        self.url, (self.database,) = properties["queryServiceUri"], properties["databasesItemIds"]
        self.headers = {"Authorization": f"Bearer {fabric.sandbox.entra.issue_token(audience=KUSTO).access_token}"}

    def post(self, path, csl, *, db=None, expect=200, headers=None, **more):
        body = {"db": db or self.name, "csl": csl, **more}
        answer = self.https.post(f"{self.url}{path}", json=body, headers=self.headers | (headers or {}))
        assert answer.status_code == expect, f"{answer.status_code} {answer.text}"
        return answer

    def manage(self, csl, **more):
        """The rows of a command's answer, as dictionaries."""
        (table,) = self.post("/v1/rest/mgmt", csl, **more).json()["Tables"]
        return [dict(zip([column["ColumnName"] for column in table["Columns"]], row, strict=True)) for row in table["Rows"]]

    def frames(self, kql, **more):
        return self.post("/v2/rest/query", kql, **more).json()

    def result(self, kql, **more):
        (frame,) = [one for one in self.frames(kql, **more) if one.get("TableKind") == "PrimaryResult"]
        return frame

    def query(self, kql, **more):
        """The rows of a query's result, as lists."""
        return self.result(kql, **more)["Rows"]

    def types(self, kql):
        return {column["ColumnName"]: column["ColumnType"] for column in self.result(kql)["Columns"]}

    def refused(self, path, csl, expect=400, **more):
        """The error of a refused request: its code and what it says."""
        error = self.post(path, csl, expect=expect, **more).json()["error"]
        assert {"code", "message", "@type", "@message", "@context", "@permanent"} == set(error)
        return error["code"], error["@message"]

"""A small graph for the contract tests: who knows whom and lives where, with the dirt that real tables have."""

import json
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import write_deltalake
from tests.contract.fabric_trials import decode, part

BORN = datetime(1990, 5, 1, 12, tzinfo=UTC)
TABLES = {
    "person": pa.table(
        {
            "id": pa.array([1, 2, 3, 4, 4, None], pa.int64()),
            "full_name": ["Ann", "Bob", "Cid", "Dee", "a second Dee", "nobody"],
            "age": pa.array([30, 40, None, 2**60, 1, 1], pa.int64()),
            "height": [1.5, float("inf"), float("nan"), -0.0, 1.0, 1.0],
            "active": [True, False, None, True, True, True],
            "born": pa.array([BORN, None, None, None, None, None], pa.timestamp("us", "UTC")),
        }
    ),
    "city": pa.table({"name": ["Oslo", "Rome"], "people": [700_000, 2_800_000], "code": ["NO", "IT"], "region": ["north", "south"]}),
    "country": pa.table({"code": ["NO", "IT"], "region": ["north", "south"], "name": ["Norway", "Italy"]}),
    "knows": pa.table(
        {
            "who": pa.array([1, 2, 3, 1, 1, None, 1, 2], pa.int64()),
            "whom": pa.array([2, 3, 1, 3, 99, 2, 2, 1], pa.int64()),
            "since": [2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008],
            "kind": ["friend", "friend", "friend", "foe", "friend", "friend", "friend", None],
        }
    ),
    "lives": pa.table({"person": ["1", "2", "3"], "city": ["Oslo", "Rome", "Oslo"]}),
}


def types(**properties):
    return [{"name": name, "type": kind} for name, kind in properties.items()]


def columns(**mappings):
    return [{"propertyName": name, "sourceColumn": column} for name, column in mappings.items()]


def graph_type():
    person = types(id="INT", name="STRING", age="INT", height="FLOAT", active="BOOLEAN", born="ZONED DATETIME")
    return {
        "nodeTypes": [
            {"alias": "P", "labels": ["Person"], "primaryKeyProperties": ["id"], "properties": person},
            {
                "alias": "C",
                "labels": ["Place", "City"],
                "primaryKeyProperties": ["name"],
                "properties": types(name="STRING", population="INT"),
            },
            {
                "alias": "L",
                "labels": ["Place", "Country"],
                "primaryKeyProperties": ["code", "region"],
                "properties": types(code="STRING", region="STRING", name="STRING"),
            },
        ],
        "edgeTypes": [
            edge_type("K", "knows", "P", "P", since="INT"),
            edge_type("H", "lives_in", "P", "C"),
            edge_type("I", "part_of", "C", "L"),
        ],
    }


def edge_type(alias, label, source, target, **properties):
    return {
        "alias": alias,
        "labels": [label],
        "sourceNodeType": {"alias": source},
        "destinationNodeType": {"alias": target},
        "properties": types(**properties),
    }


def edge_table(alias, source, source_columns, target_columns, **more):
    return {
        "id": alias,
        "edgeTypeAlias": alias,
        "dataSourceName": source,
        "sourceNodeKeyColumns": source_columns,
        "destinationNodeKeyColumns": target_columns,
        "propertyMappings": [],
        **more,
    }


def graph_definition():
    person = columns(id="id", name="full_name", age="age", height="height", active="active", born="born")
    friends = {"operator": "Equal", "columnName": "kind", "value": "friend"}
    return {
        "nodeTables": [
            {"id": "1", "nodeTypeAlias": "P", "dataSourceName": "person", "propertyMappings": person},
            {"id": "2", "nodeTypeAlias": "C", "dataSourceName": "city", "propertyMappings": columns(name="name", population="people")},
            {
                "id": "3",
                "nodeTypeAlias": "L",
                "dataSourceName": "country",
                "propertyMappings": columns(code="code", region="region", name="name"),
            },
        ],
        "edgeTables": [
            edge_table("K", "knows", ["who"], ["whom"], propertyMappings=columns(since="since"), filter=friends),
            edge_table("H", "lives", ["person"], ["city"]),
            edge_table("I", "city", ["name"], ["code", "region"]),
        ],
    }


def contents(workspace, lakehouse, tables=TABLES):
    """The files of the definition, by name."""
    root = f"abfss://{workspace}@onelake.dfs.fabric.microsoft.com/{lakehouse}/Tables"
    sources = [{"name": name, "type": "DeltaTable", "properties": {"path": f"{root}/{name}"}} for name in tables]
    layout = {"positions": {"P": {"x": 0, "y": 0}}, "styles": {"K": {"size": 30}}, "pan": {"x": 0, "y": 0}, "zoomLevel": 1}
    return {
        "graphType.json": graph_type(),
        "graphDefinition.json": graph_definition(),
        "dataSources.json": {"dataSources": sources},
        "stylingConfiguration.json": {"modelLayout": layout},
    }


def definition(files):
    return {"format": "json", "parts": [part(path, json.dumps(content)) for path, content in files.items()]}


def files_of(answer):
    """The files of a definition that the API gave back."""
    return {one["path"]: json.loads(decode(one["payload"])) for one in answer["definition"]["parts"]}


class GraphPlace:
    """A workspace with the tables in a lakehouse and an empty graph model."""

    def __init__(self, fabric):
        self.fabric = fabric
        self.workspace = fabric.workspace()
        self.lakehouse = fabric.lakehouse(self.workspace)
        for name, table in TABLES.items():
            self.write_table(name, table)
        answer = fabric.post(f"/workspaces/{self.workspace}/graphModels", {"displayName": "people"}, expect=201)
        self.model = answer.json()["id"]
        self.path = f"/workspaces/{self.workspace}/graphModels/{self.model}"

    def write_table(self, name, table, **more):
        folder = self.fabric.sandbox.lake.path_of(self.workspace, self.lakehouse) / "Tables" / name
        write_deltalake(str(folder), table, **more)

    def contents(self):
        return contents(self.workspace, self.lakehouse)

    def push(self, files):
        """Push a definition; the state of the operation when it has ended."""
        answer = self.fabric.post(f"{self.path}/updateDefinition", {"definition": definition(files)}, expect=202)
        location = answer.headers["location"]
        while (state := self.fabric.get(location).json())["status"] == "Running":
            pass
        return state

    def refresh(self):
        """Start a refresh; the URL of the job."""
        return self.fabric.post(f"{self.path}/jobs/refreshGraph/instances", expect=202).headers["location"]

    def load(self):
        """Push the whole definition and refresh."""
        assert self.push(self.contents())["status"] == "Succeeded"
        job = self.fabric.ended(self.refresh())
        assert job["status"] == "Completed", job
        return job

    def ask(self, query):
        """The answer to a query, whatever its status."""
        return self.fabric.post(f"{self.path}/executeQuery?beta=true", {"query": query}, expect=200).json()

    def rows(self, query):
        """The values of a query that went well."""
        answer = self.ask(query)
        assert answer["status"]["code"] in ("00000", "02000"), answer["status"]
        return [list(row.values()) for row in answer["result"]["data"]]

    def drop(self):
        self.fabric.call("DELETE", f"/workspaces/{self.workspace}", 200)

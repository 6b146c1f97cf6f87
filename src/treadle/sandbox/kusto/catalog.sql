-- What the Kusto sandbox remembers beside the rows, in the same file, so that rows and what is known of them change together.
CREATE SCHEMA IF NOT EXISTS catalog;
CREATE SCHEMA IF NOT EXISTS data;
CREATE SEQUENCE IF NOT EXISTS catalog.numbers;

CREATE TABLE IF NOT EXISTS catalog.tables (id BIGINT, database_id VARCHAR, name VARCHAR, folder VARCHAR, docstring VARCHAR);

CREATE TABLE IF NOT EXISTS catalog.columns (table_id BIGINT, position INTEGER, name VARCHAR, type VARCHAR);

-- mapping: JSON, a list of {"column", "DataType", "Properties": {"Ordinal" | "ConstValue"}}
CREATE TABLE IF NOT EXISTS catalog.mappings (table_id BIGINT, kind VARCHAR, name VARCHAR, mapping VARCHAR, updated_at TIMESTAMP);

-- number: what the rows of the extent carry in their column $extent
CREATE TABLE IF NOT EXISTS catalog.extents (
    id UUID, number BIGINT, table_id BIGINT, created_at TIMESTAMP, row_count BIGINT, size_bytes BIGINT, tags VARCHAR[]
);

CREATE TABLE IF NOT EXISTS catalog.versions (database_id VARCHAR, minor BIGINT);

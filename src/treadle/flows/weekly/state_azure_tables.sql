-- What `treadle weekly` needs on Azure SQL, for the owner of the database to run once. Safe to repeat.
-- Tables that an earlier installation has made, with these names and columns, are used as they are.

IF OBJECT_ID('dbo.pipeline_run', 'U') IS NULL
CREATE TABLE dbo.pipeline_run (
    run_id               uniqueidentifier NOT NULL PRIMARY KEY,
    pipeline_name        nvarchar(100)    NOT NULL,
    batch_week_start     date             NOT NULL,
    batch_week_end       date             NOT NULL,
    pipeline_start_time  datetime2(3)     NOT NULL,
    pipeline_end_time    datetime2(3)     NULL,
    status               nvarchar(30)     NOT NULL,
    correlation_id       nvarchar(50)     NULL,
    rows_fetched         int              NULL,
    rows_output          int              NULL,
    rows_rejected        int              NULL,
    reject_rate_pct      decimal(9, 6)    NULL,
    reject_threshold_pct decimal(9, 6)    NULL,
    output_path          nvarchar(400)    NULL,
    rejects_path         nvarchar(400)    NULL,
    error_type           nvarchar(100)    NULL,
    error_message        nvarchar(max)    NULL,
    created_at_utc       datetime2(3)     NOT NULL DEFAULT SYSUTCDATETIME()
);

IF OBJECT_ID('dbo.pipeline_stage', 'U') IS NULL
CREATE TABLE dbo.pipeline_stage (
    stage_id         bigint           NOT NULL IDENTITY(1, 1) PRIMARY KEY,
    run_id           uniqueidentifier NOT NULL REFERENCES dbo.pipeline_run (run_id),
    stage_name       nvarchar(30)     NOT NULL,
    stage_start_time datetime2(3)     NOT NULL,
    stage_end_time   datetime2(3)     NULL,
    status           nvarchar(30)     NOT NULL,
    row_count        int              NULL,
    error_message    nvarchar(max)    NULL,
    created_at_utc   datetime2(3)     NOT NULL DEFAULT SYSUTCDATETIME()
);

IF OBJECT_ID('dbo.pipeline_checkpoint', 'U') IS NULL
CREATE TABLE dbo.pipeline_checkpoint (
    pipeline_name              nvarchar(100) NOT NULL PRIMARY KEY,
    last_successful_week_start date          NULL,
    last_successful_week_end   date          NULL,
    next_week_start            date          NOT NULL,
    next_week_end              date          NOT NULL,
    updated_at_utc             datetime2(3)  NOT NULL
);

IF NOT EXISTS (SELECT 1 FROM sys.indexes WHERE name = 'IX_pipeline_run_week' AND object_id = OBJECT_ID('dbo.pipeline_run'))
CREATE INDEX IX_pipeline_run_week ON dbo.pipeline_run (pipeline_name, batch_week_start, batch_week_end);

IF NOT EXISTS (SELECT 1 FROM sys.indexes WHERE name = 'UX_pipeline_run_week' AND object_id = OBJECT_ID('dbo.pipeline_run'))
CREATE UNIQUE INDEX UX_pipeline_run_week ON dbo.pipeline_run (pipeline_name, batch_week_start, batch_week_end)
 WHERE status IN ('SUCCESS', 'SUCCESS_WITH_REJECTS');

IF NOT EXISTS (SELECT 1 FROM sys.indexes WHERE name = 'UX_pipeline_run_started' AND object_id = OBJECT_ID('dbo.pipeline_run'))
CREATE UNIQUE INDEX UX_pipeline_run_started ON dbo.pipeline_run (pipeline_name, batch_week_start, batch_week_end)
 WHERE status = 'STARTED';

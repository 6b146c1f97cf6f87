-- One row per customer and week, from the validated events in the lake: the T-SQL form of flows/weekly/metrics.py, proven equal to it by
-- tests/unit/test_weekly_sql_views.py. For a Synapse serverless SQL pool, or the SQL analytics endpoint of a Fabric warehouse or lakehouse.
--
-- Two variables, as sqlcmd and SQL Server Data Tools replace them:
--   $(events): the events files, as the place that holds the lake names them, for example
--     OPENROWSET(BULK 'reverse_etl/raw_events/week_start=2019-12-02/week_end=2019-12-08/events.parquet', DATA_SOURCE = 'treadle_lake', FORMAT = 'PARQUET');
--     a star in the place of either date reads all weeks
--   $(spend_types): the value of SPEND_EVENT_TYPES as literals, for example 'purchase'
--
-- The collation is said because the database's own may ignore case: to Treadle 'ab' and 'AB' are two customers.
CREATE OR ALTER VIEW dbo.vw_reverse_etl_customer_weekly
AS
WITH customer_week AS (
    SELECT user_id COLLATE Latin1_General_100_BIN2_UTF8 AS external_customer_id,
           batch_week_start,
           batch_week_end,
           SUM(CASE WHEN event_type COLLATE Latin1_General_100_BIN2_UTF8 IN ($(spend_types)) THEN CAST(price AS DECIMAL(38, 6))
                    ELSE CAST(0 AS DECIMAL(38, 6)) END) AS total_spend_week,
           COUNT_BIG(*) AS activity_count_week,
           MAX(event_time) AS last_activity_time
      FROM $(events) AS events
     GROUP BY user_id COLLATE Latin1_General_100_BIN2_UTF8, batch_week_start, batch_week_end
)
SELECT external_customer_id,
       CONCAT(external_customer_id, '_', CONVERT(CHAR(10), batch_week_start, 23)) AS external_signal_id,
       batch_week_start,
       batch_week_end,
       COALESCE(total_spend_week, CAST(0 AS DECIMAL(38, 6))) AS total_spend_week,
       activity_count_week,
       last_activity_time,
       CASE WHEN total_spend_week >= 5000 THEN 'HIGH'
            WHEN total_spend_week >= 1000 THEN 'MEDIUM'
            ELSE 'LOW' END AS customer_tier
  FROM customer_week;

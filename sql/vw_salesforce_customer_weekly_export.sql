-- What goes to Salesforce: the customers' weeks with the columns of Customer_Weekly_Metric__c in their order, money as its field holds it –
-- two places, half a cent to even – and the last activity to the millisecond. Weeks that hold no events have no rows.
-- T-SQL rounds half away from zero, so a tie whose cent came out odd is taken back by one cent. Spend is never negative.
CREATE OR ALTER VIEW dbo.vw_salesforce_customer_weekly_export
AS
SELECT external_customer_id,
       external_signal_id,
       batch_week_start,
       batch_week_end,
       CASE WHEN total_spend_week % 0.02 = 0.005 THEN CAST(total_spend_week - 0.005 AS DECIMAL(38, 2))
            ELSE CAST(total_spend_week AS DECIMAL(38, 2)) END AS total_spend_week,
       activity_count_week,
       DATEADD(MICROSECOND, -(DATEPART(MICROSECOND, last_activity_time) % 1000), last_activity_time) AS last_activity_time,
       customer_tier
  FROM dbo.vw_reverse_etl_customer_weekly;

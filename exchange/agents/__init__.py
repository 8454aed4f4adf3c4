"""Who acts for whom: members authorise service organisations for named steps, until a day."""

"""`wingmanmatch outbox`: mails as people look at them, in the folder or as rows that a server tells of."""

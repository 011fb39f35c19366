"""Public data: what portals have, and a folder of it with the table that ingest reads."""

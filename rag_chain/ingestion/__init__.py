"""Plan what an ingest has to do, then do it: embed, write, prune, report."""

"""The report: what is in a corpus, as a page to look at and as a dataset card."""

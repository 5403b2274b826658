"""Corpora: readers (one file per corpus), downloads, preparation and synthetic corpora."""

"""One file a corpus: each turns recordings, or nothing at all, into manifests."""

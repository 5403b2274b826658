"""The demo: recognise, train, compare and draw on a synthetic corpus, offline."""

"""The whole path on a corpus it makes itself, offline: recognise, train, compare, draw."""

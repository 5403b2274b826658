"""Style and drawing that the pages of this package share."""

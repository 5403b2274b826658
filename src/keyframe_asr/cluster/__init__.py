"""Recognition of archives on Ray: one machine or many."""

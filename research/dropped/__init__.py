"""Studies of the information lost with the dropped frames: probes on frozen encoders."""

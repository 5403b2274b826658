"""What is lost with the dropped frames: probes on frozen encoders."""

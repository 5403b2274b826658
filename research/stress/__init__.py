"""Stress studies: error rate and keyframes of several systems on degraded speech."""

"""What is wrong with manifests: recordings, texts, outliers, and what their splits share."""

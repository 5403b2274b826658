"""A server for recordings and live speech: `keyframe serve`."""

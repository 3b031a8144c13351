"""HTTP as a client speaks it: sending, repeating, pages of a list, server-sent events."""

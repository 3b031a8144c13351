"""The client side of HTTP: requests, retries, responses, pages of lists, server-sent events."""

"""Pages for a browser: what runs do, as they do it. Imports nothing of the API's handlers."""

"""The API's objects as frozen classes, and its request parameters as ``TypedDict``; one file per resource."""

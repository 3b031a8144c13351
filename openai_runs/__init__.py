"""Runs of the Assistants API, wherever they execute: an asyncio client, and an engine with a server of its own."""

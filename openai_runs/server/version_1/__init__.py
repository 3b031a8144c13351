"""Version 1 of the API, of November 2023, for clients that ask for it: the only place that knows its shapes.

A request is upgraded before it is checked, a response downgraded before it is sent; the engine has version 2 only. So
an object may be made by a client of either version and read by one of the other.

What version 1 called ``retrieval`` is ``file_search``. The ``file_ids`` of a message are its attachments, those of an
assistant the files of its vector store and of its code interpreter.
"""

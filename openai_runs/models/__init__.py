"""The API's objects as frozen classes, and the parameters of its requests as typed dictionaries; a file each."""

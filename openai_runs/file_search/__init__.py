"""Makes files searchable: from their bytes to text, to chunks, to an index that is searched by words and by meaning."""

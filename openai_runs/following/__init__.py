"""Everything that observes one run, by polling or by streaming, from its start until its end is reported."""

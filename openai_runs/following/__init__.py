"""All that observes one run: by polling or by streaming, from its start to the telling of its end."""

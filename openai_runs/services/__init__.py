"""One class per API resource; a method is one request, or one iterator."""

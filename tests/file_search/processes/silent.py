"""A process that ends well and says nothing of how it went."""

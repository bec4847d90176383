"""Runs and stores as folders that a hub of models and data sets takes: with a card, and a manifest of digests."""

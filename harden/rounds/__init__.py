"""Quarterly rounds with memory."""

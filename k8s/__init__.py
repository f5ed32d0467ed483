"""Kubernetes: what pods there are, and Jobs for what was loaded, reconciled from rows of the inventory."""
